#!/usr/bin/env bash
# Two Ray nodes on one Linux machine, for trying a cluster without having one:
#
#     sudo PYTHON=$PWD/.venv/bin/python cluster/two_nodes.sh DIR COMMAND [ARGUMENT ...]
#
# node-a (10.77.0.1, the head) and node-b (10.77.0.2) have a network, a host name, processes, /tmp/ray and DIR/local of
# their own, and share every other folder, as over NFS. With SHARED=no they share nothing: DIR (with HOME in it) and /tmp are
# each node's own, and everything else, such as this repository, is read-only. COMMAND runs on node-a with RAY_ADDRESS set.
# Each node gives Ray CPUS_PER_NODE (1) cores, the head HEAD_CPUS. Where Ray gives node-b up, it joins again by itself.
# Whenever COMMAND creates DIR/local/replace-node, the newest node is killed with all its processes and another joins, first
# node-c (10.77.0.3). Afterwards, however COMMAND ends, all nodes are gone with all their processes, and what node-a wrote
# is there for the next call with this DIR, as on a head's volume; nothing else on the machine is touched.
set -euo pipefail

if [ $# -lt 2 ] || [ "$(id -u)" -ne 0 ]; then
    sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
python=${PYTHON:-$PWD/.venv/bin/python}
cpus=${CPUS_PER_NODE:-1}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/local" && work=$(cd "$1" && pwd)
shift
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$work/auth_token
(umask 077 && "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
home=$HOME holders=() tokens=("$RAY_AUTH_TOKEN_PATH")
# shellcheck disable=SC2329 # the trap calls it
end() {
    [ ${#holders[@]} -eq 0 ] || kill -KILL "${holders[@]}" 2>/dev/null || true # whose nodes are killed with them
    rm -f "${tokens[@]}"
}
trap end EXIT

# mounts NAME: print the commands that give a node its folders.
mounts() {
    local own=$work/$1 path inside
    if [ "${SHARED:-yes}" = yes ]; then
        mkdir -p "$own/ray" "$own/local" /tmp/ray
        echo "mount --bind '$own/ray' /tmp/ray; mount --bind '$own/local' '$work/local'"
        return
    fi
    mkdir -p "$own/dir/local" "$own/dir/home" "$own/tmp"
    chmod 1777 "$own/tmp"
    install -m 600 "$RAY_AUTH_TOKEN_PATH" "$own/dir/auth_token"
    tokens+=("$own/dir/auth_token")
    home=$work/home
    for path in "$here/.." "$("$python" -c 'import sys; print(sys.prefix)')" "$work"; do
        path=$(cd "$path" && pwd) inside=$path
        case $path in /tmp/*) inside=$own$path && mkdir -p "$inside" ;; esac
        if [ "$path" = "$work" ]; then
            echo "mount --bind '$own/dir' '$inside'"
        else
            echo "mount --bind '$path' '$inside'; mount -o remount,bind,ro '$inside'"
        fi
    done
    echo "mount --rbind '$own/tmp' /tmp; mount -o remount,bind,ro /"
}

# begin NAME: hold the namespaces of a node open; $begun is its first process, $holder what ends it.
begin() {
    local folders
    mounts "$1" >"$work/$1.mounts"
    folders=$(cat "$work/$1.mounts")
    unshare --net --uts --pid --fork --kill-child=KILL --mount --mount-proc bash -ec "
        ip link set lo up
        mount -t tmpfs -o size=1g tmpfs /dev/shm
        $folders
        hostname $1
        sleep infinity & wait" &
    holder=$!
    holders+=("$holder")
    disown "$holder"
    for _ in $(seq 300); do
        begun=$(cat "/proc/$holder/task/$holder/children" | tr -d ' ')
        [ -n "$begun" ] && [ "$(nsenter --target "$begun" --uts hostname)" = "$1" ] && return
        sleep 0.1
    done
    echo "$1: its namespaces did not open" >&2
    exit 1
}

# on PROCESS COMMAND: run a command on a node.
on() {
    local process=$1
    shift
    # A session of its own has its own share of a busy machine's time (Linux' autogroups), as a machine would.
    setsid --wait nsenter --target "$process" --net --uts --pid --mount --wdns="$PWD" env HOME="$home" "$@"
}

# join NAME NUMBER: a node with the address 10.77.0.NUMBER, connected to node-a, that joins again whenever Ray gives it up.
join() {
    begin "$1"
    nsenter --target "$a" --net ip link add "$1" type veth peer name eth0 netns "$begun"
    nsenter --target "$a" --net ip link set "$1" master eth0 up
    nsenter --target "$begun" --net ip address add "10.77.0.$2/24" dev eth0
    nsenter --target "$begun" --net ip link set eth0 up
    # shellcheck disable=SC2016 # the inner shell expands it
    on "$begun" bash -c 'while true; do "$@" || true; sleep 2; done' supervisor "${ray[@]}" --num-cpus "$cpus" --block \
        --address 10.77.0.1:6379 --node-ip-address "10.77.0.$2" >"$work/$1/start.log" 2>&1 &
    disown
}

# listens: whether Ray's client server does, which ends by itself where the head's start takes more than 30 s.
listens() {
    on "$a" bash -c "for try in {1..100}; do (: </dev/tcp/10.77.0.1/10001) && exit; sleep 1; done 2>/dev/null; exit 1"
}

ray=("$python" -m ray.scripts.scripts start --object-store-memory 200000000)
begin node-a && a=$begun
nsenter --target "$a" --net ip link add eth0 type bridge # it outlives a node that is killed
nsenter --target "$a" --net ip address add 10.77.0.1/24 dev eth0
nsenter --target "$a" --net ip link set eth0 up
tries=1
until on "$a" "${ray[@]}" --num-cpus "${HEAD_CPUS:-$cpus}" --head --node-ip-address 10.77.0.1 --port 6379 \
    >"$work/node-a/start.log" 2>&1 && listens; do # on a busy machine Ray gives up, too
    [ "$tries" -lt 5 ] || { cat "$work/node-a/start.log" >&2 && exit 1; }
    tries=$((tries + 1))
    on "$a" "$python" -m ray.scripts.scripts stop --force >/dev/null 2>&1 || true # sees only the node's own processes
done
join node-b 2
newest=$holder number=2
on "$a" "$python" "$here/wait_for_nodes.py" 10.77.0.1:6379 2 300
on "$a" env RAY_ADDRESS=10.77.0.1:6379 "$@" &
command=$! status=0 asked=/proc/$a/root$work/local/replace-node
while kill -0 "$command" 2>/dev/null; do
    if [ -e "$asked" ]; then
        kill -KILL "$newest"
        number=$((number + 1))
        join "node-$(printf '%s' abcdefghijklmnopqrstuvwxyz | cut -c "$number")" "$number"
        newest=$holder
        rm "$asked"
    fi
    sleep 0.5
done
wait "$command" || status=$?
exit "$status"
