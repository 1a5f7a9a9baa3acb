#!/usr/bin/env bash
# A whole small run under valgrind's memcheck: scripts/valgrind.sh LOWRANK [MODEL]. 2 steps, a checkpoint, an evaluation, on one thread (about
# three minutes of the CPU); ends with 9 where something was found. Left out is what is LibTorch's and the loader's own (valgrind.supp).
set -euo pipefail
lowrank=$(realpath "$1")
cd "$(dirname "$0")/.."
model=${2:-examples/base}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for i in $(seq 24); do printf '{"prompt": "Once", "completion": " upon a time there was a girl of %s"}\n' "$i"; done > "$scratch/rows.jsonl"
valgrind --quiet --error-exitcode=9 --num-callers=24 --suppressions=scripts/valgrind.supp --leak-check=full --show-leak-kinds=definite \
  --errors-for-leak-kinds=definite \
  "$lowrank" finetune "$model" --data "$scratch/rows.jsonl" --max-steps 2 --save-every 1 --batch-size 2 --seq-len 32 --rank 4 --threads 1 \
  --quiet --out "$scratch/out"
echo "valgrind.sh: nothing found"
