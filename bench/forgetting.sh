#!/usr/bin/env bash
# Forgetting bounded: stories260K fine-tuned on Vasari's Lives with --max-forgetting, then measured on Vasari and TinyStories
# that took no part in training or in the choice of the scale; and the frontier of the same adapter unscaled.
#   LOWRANK_ASSETS=<assets> bench/forgetting.sh [lowrank] [out] [bound] [more finetune options]
set -euo pipefail
assets=${LOWRANK_ASSETS:?set it to the folder with the assets}
lowrank=${1:-build/bin/lowrank}
out=${2:-runs/forgetting}
bound=${3:-5%}
shift $(($# < 3 ? $# : 3))
texts=$(mktemp -d)
trap 'rm -rf "$texts"' EXIT
python3 - "$assets" "$texts" << 'PY'
import sys
assets, texts = sys.argv[1:]
vasari = open(assets + "/corpora/art-history/vasari-lives-vol01.pg25326.txt", encoding="utf-8-sig").read()
stories = open(assets + "/corpora/general/tinystories_2MB.txt", encoding="utf-8").read()
parts = {"train": vasari[:200000], "validation": vasari[300000:340000], "domain": vasari[400000:440000],
         "general": stories[200000:400000], "unseen": stories[:100000]}
for name, text in parts.items():
    open(f"{texts}/{name}.txt", "w", encoding="utf-8").write(text)
PY
model=$assets/models/stories260K-hf
"$lowrank" finetune "$model" --data "$texts/train.txt" --val-data "$texts/validation.txt" --general-data "$texts/general.txt" \
  --max-forgetting "$bound" --out "$out" --overwrite --rank 8 --alpha 16 --epochs 1 --lr 1e-3 --seq-len 256 --schedule constant \
  --dtype float32 --eval-every 1000000 "$@"
echo "== the bounded adapter on unseen text"
"$lowrank" evaluate "$model" --adapter "$out" --data domain="$texts/domain.txt" general="$texts/unseen.txt" --seq-len 256 --dtype float32
echo "== the same adapter before it was scaled"
last=$(ls -d "$out"/checkpoints/checkpoint-* | sort -t- -k2 -n | tail -1)
"$lowrank" evaluate "$model" --adapter "$last" --data domain="$texts/domain.txt" general="$texts/unseen.txt" --seq-len 256 \
  --dtype float32 --frontier
