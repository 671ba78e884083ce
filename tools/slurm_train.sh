#!/usr/bin/env bash
# Train under Slurm, which starts tools/dist_train.sh once on each node:
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh PARTITION JOB CONFIG [options of train.py]
# SRUN_ARGS holds more options of srun; CPUS_PER_GPU and PORT may be set too.
set -euo pipefail
USAGE='usage: [GPUS=8] [GPUS_PER_NODE=8] tools/slurm_train.sh PARTITION JOB CONFIG [options]'
PARTITION=${1:?$USAGE}
JOB=${2:?$USAGE}
CONFIG=${3:?$USAGE}
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
if ((GPUS % GPUS_PER_NODE)); then
    echo "GPUS=$GPUS is no multiple of GPUS_PER_NODE=$GPUS_PER_NODE: every node takes part with as many" >&2
    exit 2
fi
# The processes meet on the first node, at a port of this job's own.
# shellcheck disable=SC2016  # to be expanded on the node
ON_NODE='
export NNODES=$SLURM_NNODES NODE_RANK=$SLURM_NODEID PORT=${PORT:-$((20000 + SLURM_JOB_ID % 10000))} MASTER_ADDR
read -r MASTER_ADDR < <(scontrol show hostnames "$SLURM_STEP_NODELIST")
exec "$@"'
# shellcheck disable=SC2086  # SRUN_ARGS holds several words on purpose
exec srun --partition="$PARTITION" --job-name="$JOB" --nodes=$((GPUS / GPUS_PER_NODE)) --ntasks-per-node=1 \
    --gres=gpu:"$GPUS_PER_NODE" --cpus-per-task=$((${CPUS_PER_GPU:-5} * GPUS_PER_NODE)) --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} bash -c "$ON_NODE" on_node "$(dirname "$0")/dist_train.sh" "$CONFIG" "$GPUS_PER_NODE" "${@:4}"
