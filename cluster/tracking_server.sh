#!/usr/bin/env bash
# An MLflow server for a cluster, on PostgreSQL:
#
#     MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE cluster/tracking_server.sh ARTIFACTS [HOST [PORT]]
#
# ARTIFACTS is a folder or `s3://BUCKET/PREFIX` (needs boto3; MLFLOW_S3_ENDPOINT_URL names a store other than AWS). Only the
# server reads and writes there. HOST is 127.0.0.1 unless given. With any other HOST, and where MLFLOW_AUTH_ADMIN_PASSWORD is
# set, the server asks for a user and a password. The first user is `admin` with that password; clients set
# MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.
# It speaks plain HTTP: put a proxy with TLS in front where the network is not your own. Names other than HOST:PORT by which
# it is called go into MLFLOW_SERVER_ALLOWED_HOSTS, with commas; a path below which it answers into MLFLOW_STATIC_PREFIX.
set -euo pipefail

if [ $# -lt 1 ] || [ -z "${MLFLOW_BACKEND_STORE_URI:-}" ]; then
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
python=${PYTHON:-$PWD/.venv/bin/python}
host=${2:-127.0.0.1} port=${3:-5000}
case $1 in
*://*) artifacts=$1 ;;
*) mkdir -p "$1" && artifacts=$(cd "$1" && pwd) ;;
esac
export MLFLOW_BACKEND_STORE_URI MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
options=(--artifacts-destination "$artifacts" --host "$host" --port "$port" --workers 1)
if [ "$host" != 127.0.0.1 ] || [ -n "${MLFLOW_AUTH_ADMIN_PASSWORD:-}" ]; then
    export MLFLOW_AUTH_ADMIN_PASSWORD="${MLFLOW_AUTH_ADMIN_PASSWORD:?must be set where others than this machine can call}"
    MLFLOW_FLASK_SERVER_SECRET_KEY=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
    MLFLOW_SERVER_ALLOWED_HOSTS=${MLFLOW_SERVER_ALLOWED_HOSTS:-$host:$port}
    users=$(mktemp)
    trap 'rm -f "$users"' EXIT
    cat >"$users" <<END
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = ${MLFLOW_BACKEND_STORE_URI//%/%%}
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
END
    export MLFLOW_FLASK_SERVER_SECRET_KEY MLFLOW_SERVER_ALLOWED_HOSTS MLFLOW_AUTH_CONFIG_PATH=$users
    options+=(--app-name basic-auth)
fi
"$python" -m mlflow server "${options[@]}"
