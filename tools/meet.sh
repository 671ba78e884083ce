# Sourced by dist_train.sh and dist_test.sh. Sets MEET: the options by which torchrun's processes find each other.
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR on each, and PORT where 29500 is taken.
# shellcheck shell=bash disable=SC2034  # MEET is used by the scripts that source this
MEET=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}")
if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    MEET+=(--standalone --local_addr=127.0.0.1) # at a free port: several runs fit on one machine
else
    MEET+=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
