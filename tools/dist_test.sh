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
. "$(dirname "$0")/meet.sh"
exec "${PYTHON:-python}" -m torch.distributed.run "${MEET[@]}" --nproc_per_node="$GPUS" \
    "$(dirname "$0")/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "${@:4}"
