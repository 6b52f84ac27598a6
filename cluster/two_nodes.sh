#!/usr/bin/env bash
# Two Ray nodes on one Linux machine, for trying a cluster without having one:
#
#     sudo PYTHON=$PWD/.venv/bin/python cluster/two_nodes.sh DIR COMMAND [ARGUMENT ...]
#
# node-a (10.77.0.1, the head) and node-b (10.77.0.2) have a network, a host name, processes, /tmp/ray and DIR/local of
# their own, and share every other folder, as over NFS. COMMAND runs on node-a with RAY_ADDRESS set. Each node gives Ray
# CPUS_PER_NODE (1) cores, the head HEAD_CPUS. Where Ray gives node-b up, it joins again by itself. Afterwards, however
# COMMAND ends, both nodes are gone with all their processes; nothing else on the machine is touched.
set -euo pipefail

if [ $# -lt 2 ] || [ "$(id -u)" -ne 0 ]; then
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
python=${PYTHON:-$PWD/.venv/bin/python}
cpus=${CPUS_PER_NODE:-1}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/local" && work=$(cd "$1" && pwd)
shift
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$work/auth_token
(umask 077 && "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
holders=()
# shellcheck disable=SC2329 # the trap calls it
end() {
    [ ${#holders[@]} -eq 0 ] || kill -KILL "${holders[@]}" 2>/dev/null || true # whose nodes are killed with them
    rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap end EXIT

# begin NAME: hold the namespaces of a node open; $begun is its first process.
begin() {
    mkdir -p "$work/$1/ray" "$work/$1/local" /tmp/ray
    unshare --net --uts --pid --fork --kill-child=KILL --mount --mount-proc bash -ec "
        hostname $1
        mount --bind '$work/$1/ray' /tmp/ray
        mount --bind '$work/$1/local' '$work/local'
        mount -t tmpfs -o size=1g tmpfs /dev/shm
        ip link set lo up
        sleep infinity & wait" &
    local holder=$!
    holders+=("$holder")
    disown "$holder"
    for _ in $(seq 50); do
        begun=$(cat "/proc/$holder/task/$holder/children" | tr -d ' ')
        [ -n "$begun" ] && mountpoint -q "/proc/$begun/root/dev/shm" && return
        sleep 0.1
    done
    echo "$1: its namespaces did not open" >&2
    exit 1
}

# on PROCESS COMMAND: run a command on a node.
on() {
    local process=$1
    shift
    nsenter --target "$process" --net --uts --pid --mount --wd="$PWD" "$@"
}

begin node-a && a=$begun
begin node-b && b=$begun
nsenter --target "$a" --net ip link add eth0 type veth peer name eth0 netns "$b"
address=1
for node in "$a" "$b"; do
    nsenter --target "$node" --net ip address add "10.77.0.$address/24" dev eth0
    nsenter --target "$node" --net ip link set eth0 up
    address=$((address + 1))
done

ray=("$python" -m ray.scripts.scripts start --object-store-memory 200000000)
on "$a" "${ray[@]}" --num-cpus "${HEAD_CPUS:-$cpus}" --head --node-ip-address 10.77.0.1 --port 6379 \
    >"$work/node-a/start.log" 2>&1
join=("${ray[@]}" --num-cpus "$cpus" --address 10.77.0.1:6379 --node-ip-address 10.77.0.2 --block)
# shellcheck disable=SC2016 # the inner shell expands it
on "$b" bash -c 'while true; do "$@" || true; sleep 2; done' supervisor "${join[@]}" >"$work/node-b/start.log" 2>&1 &
disown
on "$a" "$python" "$here/wait_for_nodes.py" 10.77.0.1:6379 2 120
status=0
on "$a" env RAY_ADDRESS=10.77.0.1:6379 "$@" || status=$?
exit "$status"
