#!/usr/bin/env bash
# Two builds of HEAD from nothing, without a compiler cache, one after the other in one folder: what is installed of both must be the same
# bytes. About half an hour on two cores. scripts/reproducible.sh [FOLDER]: where it is built (nothing may be there).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/bootstrap.sh > /dev/null
source_dir=$PWD
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
place=${1:-$scratch/lowrank}
[ ! -e "$place" ] || { echo "reproducible.sh: $place exists"; exit 2; }
for build in first second; do
  git clone --quiet . "$place"
  ln -s "$(readlink -f "$source_dir/.deps")" "$place/.deps"
  (cd "$place" && LOWRANK_LAUNCHER= cmake --preset release && LOWRANK_LAUNCHER= cmake --build build -j "$(nproc)" --target lowrank-command &&
    cmake --install build --prefix "$scratch/$build") > "$scratch/$build.log" 2>&1 || { tail -20 "$scratch/$build.log"; exit 1; }
  rm -rf "$place"
  (cd "$scratch/$build" && find . -type f | sort | xargs sha256sum) > "$scratch/$build.sums"
  echo "reproducible.sh: the $build build: $(wc -l < "$scratch/$build.sums") files, $(sha256sum < "$scratch/$build.sums" | cut -c1-16)"
done
diff "$scratch/first.sums" "$scratch/second.sums" || { echo "reproducible.sh: the two builds differ"; exit 1; }
echo "reproducible.sh: the same bytes"
