#!/usr/bin/env bash
# Fine-tunes the embedded base on the embedded art-history text and shows what was learned: the before/after table.
set -euo pipefail
cd "$(dirname "$0")/.."
lowrank=${1:-build/bin/lowrank}
out=${2:-runs/demo}
"$lowrank" finetune examples/base --data examples/art-history/train --val-data examples/art-history/heldout.txt \
  --general-data examples/general.txt --out "$out" --overwrite --seq-len 256 --rank 16 --epochs 4 --lr 3e-3
echo
echo "The same prompt, before and after:"
prompt="The painting shows"
for adapter in "" "--adapter $out"; do
  printf '  %s | %s' "$([ -z "$adapter" ] && echo 'base   ' || echo 'adapter')" "$prompt"
  # shellcheck disable=SC2086
  "$lowrank" generate examples/base $adapter --prompt "$prompt" --max-new-tokens 48 --temperature 0.7 --top-p 0.9 --seed 1
  echo
done
