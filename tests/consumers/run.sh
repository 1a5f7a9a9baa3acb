#!/usr/bin/env bash
# Both ways to use the library from another project: the whole of it from an install prefix, a part of it from the source tree.
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$source_dir/build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
launcher=${LOWRANK_LAUNCHER:+-DCMAKE_CXX_COMPILER_LAUNCHER=$LOWRANK_LAUNCHER}

cmake --install "$build" --prefix "$work/prefix" > /dev/null
# shellcheck disable=SC2086
cmake -S "$source_dir/tests/consumers/find_package" -B "$work/find" -G Ninja $launcher -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_BUILD_TYPE=Release > /dev/null
cmake --build "$work/find" > /dev/null
"$work/find/consumer"
"$work/prefix/bin/lowrank" --version

# shellcheck disable=SC2086
cmake -S "$source_dir/tests/consumers/add_subdirectory" -B "$work/sub" -G Ninja $launcher -DLOWRANK_SOURCE="$source_dir" \
  -DCMAKE_BUILD_TYPE=Release > /dev/null
cmake --build "$work/sub" > /dev/null
"$work/sub/consumer"
