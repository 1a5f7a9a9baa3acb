#!/usr/bin/env bash
# The real run of docs/results.md: stories260K fine-tuned on Vasari's Lives, measured on unseen Vasari and on TinyStories.
#   LOWRANK_ASSETS=<assets> bench/art_history.sh [lowrank] [out] [more finetune options]
set -euo pipefail
assets=${LOWRANK_ASSETS:?set it to the folder with the assets}
lowrank=${1:-build/bin/lowrank}
out=${2:-runs/art-history}
shift $(($# < 2 ? $# : 2))
texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
python3 - "$assets" "$texts" << 'PY'
import sys
assets, texts = sys.argv[1:]
vasari = open(assets + "/corpora/art-history/vasari-lives-vol01.pg25326.txt", encoding="utf-8-sig").read()
stories = open(assets + "/corpora/general/tinystories_2MB.txt", encoding="utf-8").read()
for name, text in {"train": vasari[:200000], "domain": vasari[400000:440000], "general": stories[:100000]}.items():
    open(f"{texts}/{name}.txt", "w", encoding="utf-8").write(text)
PY
model=$assets/models/stories260K-hf
"$lowrank" finetune "$model" --data "$texts/train.txt" --val-split 0 --out "$out" --overwrite --rank 8 --alpha 16 --targets all-linear \
  --epochs 1 --lr 1e-3 --batch-size 4 --seq-len 256 --schedule constant --warmup 0.03 --no-shuffle --dtype float32 "$@"
"$lowrank" evaluate "$model" --adapter "$out" --data domain="$texts/domain.txt" general="$texts/general.txt" --seq-len 512 --dtype float32
