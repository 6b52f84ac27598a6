#!/usr/bin/env bash
# A study on a SLURM allocation, from this checkout on a file system that all nodes share:
#
#     MLFLOW_TRACKING_URI=http://... sbatch --nodes=3 --gpus-per-node=1 cluster/slurm.sh --search joint --data DIR --out DIR --cache DIR
#
# Arguments after the script are those of `python -m study.run`. One Ray node starts on each machine of the allocation, the head
# on the first, where the study runs; all end with the job.
#SBATCH --job-name=jointnet-study
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=study-%j.log
set -euo pipefail

python=${PYTHON:-$PWD/.venv/bin/python}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
others=$((${#nodes[@]} - 1))
one=(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head")
head_ip=$("${one[@]}" hostname --ip-address | tr ' ' '\n' | grep --max-count=1 -v '^127\.')
address=$head_ip:$((20000 + SLURM_JOB_ID % 10000))

RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
start=("$python" -m ray.scripts.scripts start --block --num-cpus "${SLURM_CPUS_PER_TASK:-1}" --num-gpus "${SLURM_GPUS_ON_NODE:-0}")
"${one[@]}" "${start[@]}" --head --node-ip-address "$head_ip" --port "${address#*:}" --include-dashboard false &
"$python" cluster/wait_for_nodes.py "$address" 1
if [ "$others" -gt 0 ]; then
    srun --overlap --nodes="$others" --ntasks="$others" --ntasks-per-node=1 --exclude="$head" \
        "${start[@]}" --address "$address" &
fi
"$python" cluster/wait_for_nodes.py "$address" "${#nodes[@]}"
"${one[@]}" "$python" -m study.run "$@" --address "$address"
