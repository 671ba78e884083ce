#!/usr/bin/env bash
# Train with several processes on one or more nodes:
#   tools/dist_train.sh CONFIG GPUS [options of train.py]
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR on each, and PORT where 29500 is taken.
# Without a GPU the processes use gloo on the CPU.
set -euo pipefail
CONFIG=${1:?usage: tools/dist_train.sh CONFIG GPUS [options]}
GPUS=${2:?usage: tools/dist_train.sh CONFIG GPUS [options]}
# What is missing is said once, before processes start; on the other nodes their own processes look.
if [ "${NODE_RANK:-0}" = 0 ]; then
    "${PYTHON:-python}" "$(dirname "$0")/train.py" "$CONFIG" --check-only "$GPUS" "${@:3}"
fi
. "$(dirname "$0")/meet.sh"
exec "${PYTHON:-python}" -m torch.distributed.run "${MEET[@]}" --nproc_per_node="$GPUS" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
