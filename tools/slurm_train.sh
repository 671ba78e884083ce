#!/usr/bin/env bash
# Train under Slurm:
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh PARTITION JOB CONFIG [options of train.py]
set -euo pipefail
USAGE='usage: [GPUS=8] [GPUS_PER_NODE=8] tools/slurm_train.sh PARTITION JOB CONFIG [options]'
PARTITION=${1:?$USAGE}
JOB=${2:?$USAGE}
CONFIG=${3:?$USAGE}
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-8}
((GPUS_PER_NODE <= GPUS)) || GPUS_PER_NODE=$GPUS
# shellcheck disable=SC2086  # SRUN_ARGS holds several words on purpose
exec srun -p "$PARTITION" --job-name="$JOB" \
    --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$CONFIG" --launcher slurm "${@:4}"
