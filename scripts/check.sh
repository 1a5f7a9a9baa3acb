#!/usr/bin/env bash
# What `make check` runs: the tests of every folder but those that are slow or run whole trainings ([slow], [e2e]), and the command's.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
run() {
  if "$1" '~[slow]~[e2e]' > "$2/$(basename "$1")" 2>&1; then
    echo "ok   $(basename "$1")"
  else
    cat "$2/$(basename "$1")"
    echo "FAIL $(basename "$1")"
    return 1
  fi
}
export -f run
find "$build/tests" -maxdepth 1 -type f -executable -name 'test_*' ! -name test_apps -print0 |
  OMP_NUM_THREADS=1 xargs -0 -P "$(nproc)" -I{} bash -c 'run "$@"' _ {} "$logs"
