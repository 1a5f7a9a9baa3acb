#!/usr/bin/env bash
# The ways to use the library from another project: from an install prefix that was moved after the installation, with the
# LibTorch it was built with (.deps/venv, python3 or Torch_DIR, whatever the build took), and when that is gone with one in
# python3, by Torch_DIR, of another version, and nowhere; a part of it from the prefix, and from the source tree.
#
#     run.sh BUILD           after a whole build
#     run.sh BUILD command   after `make build`: what was not built is not installed, and the package says so
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$source_dir/build}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
launcher=${LOWRANK_LAUNCHER:+-DCMAKE_CXX_COMPILER_LAUNCHER=$LOWRANK_LAUNCHER}
unset Torch_DIR

say() { printf 'ok   %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*"; cat "$work/log"; exit 1; }

# configure NAME PROGRAM COMPONENTS [options]: the consumer in $work/NAME; its words in $work/log.
configure() {
  local name=$1 program=$2 components=$3
  shift 3
  # shellcheck disable=SC2086
  cmake -S "$source_dir/tests/consumers/find_package" -B "$work/$name" -G Ninja $launcher -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_PREFIX_PATH="$work/moved" -DPROGRAM="$program" -DCOMPONENTS="$components" "$@" > "$work/log" 2>&1
}
# works NAME PROGRAM COMPONENTS [options]: configured, built and run.
works() {
  configure "$@" || fail "$1: the consumer is not configured"
  cmake --build "$work/$1" >> "$work/log" 2>&1 || fail "$1: the consumer is not built"
  "$work/$1/consumer" >> "$work/log" 2>&1 || fail "$1: the consumer fails"
  say "$1"
}
# refused NAME WORDS PROGRAM COMPONENTS [options]: find_package fails, with these words in its sentence.
refused() {
  local name=$1 words=$2
  shift 2
  if configure "$name" "$@"; then fail "$name: find_package should have refused"; fi
  tr -s ' \n' ' ' < "$work/log" | grep -qF -- "$words" || fail "$name: not said: $words"
  say "$name: refused"
}

cmake --install "$build" --prefix "$work/prefix" > "$work/log" 2>&1 || fail "cmake --install"
mv "$work/prefix" "$work/moved"
"$work/moved/bin/lowrank" --version
! ldd "$work/moved/bin/lowrank" | grep -q libtorch || fail "the command loads LibTorch at its start"
mv "$work/moved/lib/lowrank/verbs.json" "$work/verbs.json"
"$work/moved/bin/lowrank" --help --json | cmp -s - "$work/verbs.json" || fail "the installed command does not find its verbs, or their table is another"
mv "$work/verbs.json" "$work/moved/lib/lowrank/verbs.json"
say "the command, its verbs and their table are installed"
for file in share/man/man1/lowrank.1 share/bash-completion/completions/lowrank share/zsh/site-functions/_lowrank \
            share/fish/vendor_completions.d/lowrank.fish; do
  [ -s "$work/moved/$file" ] || fail "$file is not installed"
done
bash -n "$work/moved/share/bash-completion/completions/lowrank" || fail "bash does not read its completion"
say "manual page and completion are installed"
package=$work/moved/lib/cmake/lowrank

# What was built is there, and nothing else.
for library in "$build"/liblowrank_*.a; do
  [ -f "$work/moved/lib/$(basename "$library")" ] || fail "$(basename "$library") was built and not installed"
done
say "what was built is installed"

# Parquet: by the plugin of the prefix, which is loaded when such a file comes; without it the refusal says so.
plugin=$work/moved/lib/lowrank/liblowrank_parquet.so
if [ -f "$build/lib/lowrank/liblowrank_parquet.so" ]; then
  [ -f "$plugin" ] || fail "the Parquet plugin was built and not installed"
  mkdir "$work/model"
  printf '%s' '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"}}' > "$work/model/tokenizer.json"
  printf '%s' '{}' > "$work/model/tokenizer_config.json"
  parquet=("$work/moved/bin/lowrank" tokenize "$work/model" --input "$source_dir/tests/goldens/data/parquet/plain.parquet")
  ! ldd "$work/moved/bin/lowrank" | grep -qE 'libarrow|libparquet' || fail "the command loads Arrow at its start"
  "${parquet[@]}" > "$work/log" 2>&1 || fail "the installed command does not read Parquet"
  mv "$plugin" "$plugin.gone"
  if "${parquet[@]}" > "$work/log" 2>&1; then fail "Parquet without its plugin should be refused"; fi
  grep -q "Arrow, which reads it, cannot be loaded (liblowrank_parquet.so: cannot open" "$work/log" || fail "not said: that the plugin is missing"
  mv "$plugin.gone" "$plugin"
  say "Parquet by the plugin, and the refusal without it"
fi
if [ "${2:-}" = command ]; then
  works "a part, after make build" kernels kernels
  if [ ! -f "$build/liblowrank_lora_modules.a" ]; then
    for file in include/lowrank/lora/lora_linear.h include/lowrank/lowrank.h lib/liblowrank_lora_modules.a; do
      [ ! -e "$work/moved/$file" ] || fail "$file is installed, and its library was not built"
    done
    refused "what make build leaves out" "The component lora_modules of lowrank was not built" lowrank lora_modules
    refused "the whole, after make build" "The component lowrank of lowrank was not built" lowrank lowrank
  fi
  exit 0
fi

torch=$(sed -n 's/^set(LOWRANK_BUILT_TORCH "\(.*\)")$/\1/p' "$package/lowrankConfig.cmake")
version=$(sed -n 's/^set(LOWRANK_BUILT_TORCH_VERSION "\(.*\)")$/\1/p' "$package/lowrankConfig.cmake")
[ -f "$torch/lib/libtorch_cpu.so" ] || fail "the package does not know the LibTorch that it was built with: '$torch'"

# Two python3: one that finds that torch, one that finds none.
mkdir "$work/with" "$work/without"
real=$(command -v python3)
printf '#!/bin/sh\nPYTHONPATH=%q exec %q -S "$@"\n' "$(dirname "$torch")" "$real" > "$work/with/python3"
printf '#!/bin/sh\nexec %q -I -S "$@"\n' "$real" > "$work/without/python3"
chmod +x "$work"/with*/python3
with=$work/with:$PATH without=$work/without:$PATH

PATH=$without works "the LibTorch it was built with" lowrank ""
grep -qF "LibTorch $version: $torch" "$work/log" || fail "another LibTorch was taken"

# From here on that LibTorch is gone.
sed -i 's#^set(LOWRANK_BUILT_TORCH ".*")$#set(LOWRANK_BUILT_TORCH "/gone/torch")#' "$package/lowrankConfig.cmake"
gone="lowrank was built with LibTorch $version at /gone/torch"
PATH=$with works "LibTorch in python3" kernels kernels
mkdir "$work/a libtorch"  # a folder of its own: a link would be followed to the path without one
cp -rs "$torch/include" "$torch/lib" "$torch/share" "$work/a libtorch/"
PATH=$without works "LibTorch by Torch_DIR, whose path has a space" kernels kernels -DTorch_DIR="$work/a libtorch/share/cmake/Torch"
PATH=$without refused "LibTorch nowhere" "$gone, which holds no LibTorch" lowrank ""
grep -q "Torch_DIR=<libtorch>" "$work/log" || fail "the remedy is not said"
PATH=$without refused "a Torch_DIR that is gone" "$gone, and Torch_DIR=/none/share/cmake/Torch holds no LibTorch" kernels kernels \
  -DTorch_DIR=/none/share/cmake/Torch
mkdir -p "$work/other/include/torch/headeronly" "$work/other/lib"
printf '#define TORCH_VERSION_MAJOR 2\n#define TORCH_VERSION_MINOR 8\n#define TORCH_VERSION_PATCH 0\n' \
  > "$work/other/include/torch/headeronly/version.h"
touch "$work/other/lib/libtorch_cpu.so"
PATH=$without refused "a LibTorch of another version" "is LibTorch 2.8.0: give" kernels kernels -DTorch_DIR="$work/other/share/cmake/Torch"
PATH=$without works "a part that needs no LibTorch" data data
if [ -f "$plugin" ]; then
  "$work/a part that needs no LibTorch/consumer" "$source_dir/tests/goldens/data/parquet/plain.parquet" > "$work/log" 2>&1 ||
    fail "a consumer does not read Parquet by the plugin of the prefix"
  say "a consumer reads Parquet"
fi
PATH=$without refused "a component that does not exist" "lowrank has no component tokenizers" data tokenizers
rm "$work/moved/lib/liblowrank_lora_modules.a"
PATH=$without refused "a component that was not built" "The component lora_modules of lowrank was not built" data lora_modules

# Not optimised: two folders are compiled for it.
# shellcheck disable=SC2086
cmake -S "$source_dir/tests/consumers/add_subdirectory" -B "$work/sub" -G Ninja $launcher -DLOWRANK_SOURCE="$source_dir" \
  -DCMAKE_BUILD_TYPE=None -DTorch_DIR="$torch/share/cmake/Torch" > "$work/log" 2>&1 || fail "add_subdirectory: not configured"
cmake --build "$work/sub" >> "$work/log" 2>&1 || fail "add_subdirectory: not built"
"$work/sub/consumer" > /dev/null || fail "add_subdirectory: the consumer fails"
say "a part from the source tree"
