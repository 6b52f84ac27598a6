#!/usr/bin/env bash
# A study on a SLURM allocation, from a checkout whose environment is on every node, at one path or on a shared file system:
#
#     MLFLOW_TRACKING_URI=http://... sbatch --nodes=3 --gpus-per-node=1 cluster/slurm.sh --search joint --data DIR --out DIR --cache DIR
#
# Arguments after the script are those of `python -m study.run`. One Ray node starts on each machine of the allocation, the head
# on the first, where the study runs; all end with the job. Only the head's folders are used. Where they are on the own disk of
# a node, run there each time: HEAD=n1 sbatch --nodelist=n1 ...
#SBATCH --job-name=jointnet-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=study-%j.log
set -euo pipefail

python=${PYTHON:-$PWD/.venv/bin/python}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${HEAD:-${nodes[0]}}
others=$((${#nodes[@]} - 1))
one=(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head")
head_ip=$("${one[@]}" hostname --ip-address | tr ' ' '\n' | grep --max-count=1 -v '^127\.')
address=$head_ip:$((20000 + SLURM_JOB_ID % 10000))

RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
start=("$python" -m ray.scripts.scripts start --block --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}")
"${one[@]}" "${start[@]}" --head --node-ip-address "$head_ip" --port "${address#*:}" --include-dashboard false &
"${one[@]}" "$python" cluster/wait_for_nodes.py "$address" 1
if [ "$others" -gt 0 ]; then
    srun --overlap --nodes="$others" --ntasks="$others" --ntasks-per-node=1 --exclude="$head" \
        "${start[@]}" --address "$address" &
fi
"${one[@]}" "$python" cluster/wait_for_nodes.py "$address" "${#nodes[@]}"
"${one[@]}" "$python" -m study.run "$@" --address "$address"
