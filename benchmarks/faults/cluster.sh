#!/usr/bin/env bash
# The whole of docs/how-to/cluster.md that one machine can show, on two Ray nodes and the phantom; 10 minutes on two cores:
#
#     sudo PYTHON=$PWD/.venv/bin/python cluster/two_nodes.sh DIR benchmarks/faults/cluster.sh DIR
#
# MLflow on PostgreSQL with a password; a study from a node, one by `ray job submit`, one by ray://, one beside the cluster; then
# what the store holds of each: minutes, runs by status, trials by node. DIR is an absolute folder. Debian's PostgreSQL is
# needed, and a user `postgres`.
set -euo pipefail

work=$1
python=${PYTHON:-$PWD/.venv/bin/python}
root=$(cd "$(dirname "$0")/../.." && pwd)
database=$work/local/postgresql
postgres=(runuser -u postgres --)

install -d -o postgres "$database"
"${postgres[@]}" initdb --auth trust "$database" >"$work/initdb.log"
"${postgres[@]}" pg_ctl --pgdata "$database" --silent --wait --log "$database/log" \
    --options "-p 54329 -c listen_addresses=127.0.0.1 -k $database" start
"${postgres[@]}" createdb --host 127.0.0.1 --port 54329 mlflow
MLFLOW_AUTH_ADMIN_PASSWORD=$("$python" -c 'import secrets; print(secrets.token_urlsafe(24))')
export MLFLOW_AUTH_ADMIN_PASSWORD PYTHON=$python
MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://postgres@127.0.0.1:54329/mlflow \
    "$root/cluster/tracking_server.sh" "$work/artifacts" 10.77.0.1 5500 >"$work/server.log" 2>&1 &
trap '"${postgres[@]}" pg_ctl --pgdata "$database" --silent --mode immediate stop' EXIT
export MLFLOW_TRACKING_URI=http://10.77.0.1:5500
for _ in $(seq 300); do
    if curl --silent --fail "$MLFLOW_TRACKING_URI/health" >/dev/null; then break; fi
    sleep 1
done
refused=$(curl --silent --output /dev/null --write-out '%{http_code}' "$MLFLOW_TRACKING_URI/api/2.0/mlflow/experiments/search?max_results=1")
echo "without a password the tracking server answers $refused"
export MLFLOW_TRACKING_USERNAME=admin MLFLOW_TRACKING_PASSWORD=$MLFLOW_AUTH_ADMIN_PASSWORD

# timed NAME COMMAND: run a study, keep what it says, tell its minutes.
timed() {
    local name=$1 began=$SECONDS status=0
    shift
    "$@" >"$work/$name.log" 2>&1 || status=$?
    awk -v name="$name" -v status="$status" -v seconds="$((SECONDS - began))" \
        'BEGIN { printf "%s: exit status %d after %.1f minutes\n", name, status, seconds / 60 }'
}

cd "$work"
study=(-m study.run --new --search smoke --num-samples 4 --out "$work/runs" --cache "$work/cache")
timed node "$python" "${study[@]}"
timed client "$python" "${study[@]}" --address ray://10.77.0.1:10001
timed local "$python" "${study[@]}" --address local --num-samples 1
# A job has the head's environment, not this one: what the tracking server asks for goes with it.
environment=$("$python" -c 'import json, os
print(json.dumps({"env_vars": {k: v for k, v in os.environ.items() if k.startswith("MLFLOW_TRACKING")}}))')
timed job "$python" -m ray.scripts.scripts job submit --address http://127.0.0.1:8265 --working-dir "$root" \
    --runtime-env-json "$environment" -- "$python" "${study[@]}"

"$python" - <<'END'
from collections import Counter

from mlflow import MlflowClient

client = MlflowClient()
runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=1000)
for study in sorted((run for run in runs if run.data.tags["study.kind"] == "study"), key=lambda run: run.info.start_time):
    own = [run for run in runs if run.data.tags["study.id"] == study.data.tags["study.id"]]
    trials = [run for run in own if run.data.tags["study.kind"] == "trial"]
    print(
        f"{study.data.tags['study.id']} on {study.data.tags['nodes']}: {len(own)} runs",
        dict(Counter(run.info.status for run in own)),
        "trials by node",
        dict(sorted(Counter(run.data.tags.get("trial.node", "none") for run in trials).items())),
        "commit",
        study.data.tags["git.commit"][:8],
    )
END
