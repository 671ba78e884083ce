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
MEET=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}")
if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    MEET+=(--standalone --local_addr=127.0.0.1) # at a free port: several runs fit on one machine
else
    MEET+=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${MEET[@]}" --nproc_per_node="$GPUS" \
    "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "${@:3}"
