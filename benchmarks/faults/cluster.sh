#!/usr/bin/env bash
# The whole of docs/how-to/cluster.md that one machine can show, on two Ray nodes and the phantom; an hour on two idle cores:
#
#     sudo SHARED=no PYTHON=$PWD/.venv/bin/python cluster/two_nodes.sh DIR benchmarks/faults/cluster.sh DIR [STUDY ...]
#
# MLflow on PostgreSQL with a password and below a path, artifacts on an S3 stand-in where MOTO_SERVER names moto's program;
# then the smoke study from a node (`node`), over ray:// (`client`) and by `ray job submit` (`job`); each also nested
# (`node-nested`), while a node is killed and another joins (`node-replaced`), and both (`node-nested-replaced`); and by a job
# whose driver is killed before the same job is submitted again (`job-killed`). Each is compared with one beside the cluster:
# prints its minutes, its trials by node, and what differs. SHARED=yes runs the same on shared folders. DIR is an absolute
# folder; called again with it, an interrupted study resumes on a new head. Debian's PostgreSQL is needed, and a user
# `postgres`.
set -euo pipefail

work=$1
shift
studies=("$@")
[ $# -gt 0 ] || studies=({node,client,job}{,-nested}{,-replaced} job-killed)
python=${PYTHON:-$PWD/.venv/bin/python}
root=$(cd "$(dirname "$0")/../.." && pwd)
database=$work/local/postgresql
postgres=(runuser -u postgres --)

if [ ! -e "$database" ]; then
    install -d -o postgres "$database"
    "${postgres[@]}" initdb --auth trust "$database" >"$work/initdb.log"
fi
"${postgres[@]}" pg_ctl --pgdata "$database" --silent --wait --timeout 300 --log "$database/log" \
    --options "-p 54329 -c listen_addresses=127.0.0.1 -k $database" start
trap '"${postgres[@]}" pg_ctl --pgdata "$database" --silent --mode immediate stop' EXIT
connection=(--host 127.0.0.1 --port 54329)
"${postgres[@]}" psql "${connection[@]}" --quiet --command '' mlflow 2>/dev/null || "${postgres[@]}" createdb "${connection[@]}" mlflow
[ -e "$work/password" ] || (umask 077 && "$python" -c 'import secrets; print(secrets.token_urlsafe(24))' >"$work/password")
MLFLOW_AUTH_ADMIN_PASSWORD=$(cat "$work/password")
export MLFLOW_AUTH_ADMIN_PASSWORD PYTHON=$python PYTHONPATH=$root:$root/benchmarks/faults OMP_NUM_THREADS=1
artifacts=$work/artifacts
if [ -n "${MOTO_SERVER:-}" ]; then
    artifacts=s3://heart/studies
    "$MOTO_SERVER" -H 127.0.0.1 -p 5555 >"$work/moto.log" 2>&1 &
    curl --silent --fail --retry 600 --retry-delay 1 --retry-connrefused --output /dev/null --request PUT http://127.0.0.1:5555/heart
    # Only the server knows the object store.
    s3=(MLFLOW_S3_ENDPOINT_URL=http://127.0.0.1:5555 AWS_DEFAULT_REGION=us-east-1 AWS_ACCESS_KEY_ID=any
        AWS_SECRET_ACCESS_KEY=any)
fi
store=postgresql+psycopg2://postgres@127.0.0.1:54329/mlflow
env MLFLOW_BACKEND_STORE_URI=$store MLFLOW_STATIC_PREFIX=/mlflow \
    "${s3[@]:-NO_OBJECT_STORE=}" "$root/cluster/tracking_server.sh" "$artifacts" 10.77.0.1 5500 >"$work/server.log" 2>&1 &
export MLFLOW_TRACKING_URI=http://10.77.0.1:5500/mlflow
curl --silent --fail --retry 600 --retry-delay 1 --retry-connrefused --output /dev/null "$MLFLOW_TRACKING_URI/health"
refused=$(curl --silent --output /dev/null --write-out '%{http_code}' "$MLFLOW_TRACKING_URI/api/2.0/mlflow/experiments/search?max_results=1")
echo "without a password the tracking server answers $refused"
export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=$MLFLOW_AUTH_ADMIN_PASSWORD

# timed NAME COMMAND: run a study, keep what it says, tell its minutes. Where it halted, as on a slow store, it is repeated.
timed() {
    local name=$1 began=$SECONDS status=5 tries=0 halts
    shift
    until [ "$status" -ne 5 ] || [ "$tries" -eq 4 ]; do
        tries=$((tries + 1)) status=0 halts=$(grep -cs '^Stopped: ' "$work/$name.log" || true)
        "$@" >>"$work/$name.log" 2>&1 || status=$?
        [ "$(grep -c '^Stopped: ' "$work/$name.log" || true)" -le "${halts:-0}" ] || status=5 # the job's own status is 1
    done
    awk -v name="$name" -v status="$status" -v seconds="$((SECONDS - began))" \
        'BEGIN { printf "%s: exit status %d after %.1f minutes\n", name, status, seconds / 60 }'
}

# submitted OPTIONS: run a job to its end. Where a node is killed, Ray's command may end before the job does.
submitted() {
    local id=study-$RANDOM status
    "$python" -m ray.scripts.scripts job submit --address http://127.0.0.1:8265 --submission-id "$id" "$@" || true
    until status=$("$python" -m ray.scripts.scripts job status --address http://127.0.0.1:8265 "$id" 2>&1) &&
        [[ $status == *SUCCEEDED* || $status == *FAILED* || $status == *STOPPED* || $status == *succeeded* || $status == *failed* ]]; do
        sleep 5
    done
    echo "$status"
    [[ $status == *SUCCEEDED* || $status == *succeeded* ]]
}

# lose_node NAME ADDRESS: ask for another node once a study has an epoch of the node at an address.
lose_node() {
    until grep -qsF "$2" "$work/out/$1"/2*/ledger.jsonl; do sleep 0.5; done
    touch "$work/local/replace-node"
}

# kill_driver NAME: kill the driver of a study once it has an epoch.
kill_driver() {
    until grep -qs '"epoch"' "$work/out/$1"/2*/ledger.jsonl; do sleep 0.5; done
    pkill -KILL -f "^$python -m study.run .*--out $work/out/$1( |\$)"
}

cd "$work"
# Without early stopping, which depends on the order in which trials report, a study on any machines has the same rows.
{ cat "$root/search_spaces/smoke.toml" && printf '\n[search]\nscheduler = "none"\n'; } >"$work/smoke.toml"
newest=2 # number of the node that is lost next
for name in "${studies[@]}"; do
    twin=local design=(--num-samples 4) loser=
    case $name in *-nested*) twin=local-nested design=(--num-samples 2 --folds 2 --splits 3/1) ;; esac
    given=(-m study.run --search "$work/smoke.toml" --cache "$work/cache" "${design[@]}")
    alone=("${given[@]}" --out "$work/out/$twin" --address local --concurrent 1)
    given+=(--out "$work/out/$name")
    case $name in client*) given+=(--address ray://10.77.0.1:10001) ;; esac
    case $name in
    *-replaced) lose_node "$name" "10.77.0.$newest" & loser=$! ;;
    *-killed) kill_driver "$name" & ;;
    esac
    case $name in
    job*)
        # A job has the head's environment, not this one: what the tracking server asks for goes with it.
        environment=$("$python" -c 'import json, os
names = ("MLFLOW_TRACKING", "PYTHONPATH")
print(json.dumps({"env_vars": {k: v for k, v in os.environ.items() if k.startswith(names)}}))')
        start=(submitted --working-dir "$root" --runtime-env-json "$environment" -- "$python" "${given[@]}")
        ;;
    *) start=("$python" "${given[@]}") ;;
    esac
    timed "$name" "${start[@]}"
    case $name in *-killed) timed "$name" "${start[@]}" ;; esac
    if [ -n "$loser" ] && kill "$loser" 2>/dev/null; then
        echo "$name: no node was lost"
    elif [ -n "$loser" ]; then
        newest=$((newest + 1))
    fi
    compgen -G "$work/out/$twin/2*/report" >/dev/null || timed "$twin" "$python" "${alone[@]}"
    "$python" - "$work" "$store" "$name" "$twin" <<'END'
import sys
from collections import Counter
from pathlib import Path

from disturbed_study import DisturbedStudy, differences

work, database, *names = sys.argv[1:]  # the server would check the password again for each metric
study, twin = (DisturbedStudy(Path(work), name, 0, database) for name in names)
runs = study.runs()
nodes = Counter(r.data.tags.get("trial.node", "none") for r in runs if r.data.tags["study.kind"] == "trial")
rows = sum(len(study.rows(run)) for run in runs)
print(f"{names[0]}: {len(runs)} runs, {rows} metric rows, trials by last node {dict(sorted(nodes.items()))}")
if runs:
    found = {name: count for name, count in differences(study, twin).items() if count}
    print(f"{names[0]}: differs from {names[1]} in", found or "nothing")
END
done
