#!/usr/bin/env bash
# Test with several processes on one or more nodes:
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of test.py]
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR on each, and PORT where 29500 is taken.
set -euo pipefail
USAGE='usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [options]'
CONFIG=${1:?$USAGE}
CHECKPOINT=${2:?$USAGE}
GPUS=${3:?$USAGE}
# What is missing is said once, before processes start; on the other nodes their own processes look.
if [ "${NODE_RANK:-0}" = 0 ]; then
    "${PYTHON:-python}" "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --check-only "$GPUS" "${@:4}"
fi
MEET=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}")
if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    MEET+=(--standalone --local_addr=127.0.0.1) # at a free port: several runs fit on one machine
else
    MEET+=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${MEET[@]}" --nproc_per_node="$GPUS" \
    "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
