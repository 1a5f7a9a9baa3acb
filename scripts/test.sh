#!/usr/bin/env bash
# Everything that `make test` runs: unit and golden tests, sanitizers on the torch-free folders, end-to-end scripts.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
jobs=$(nproc)

section() { printf '\n== %s\n' "$*"; }

section "build"
cmake --build "$build" -j "$jobs"
section "tests"
ctest --test-dir "$build" --output-on-failure
section "AddressSanitizer and UBSan: the torch-free folders"
cmake --preset asan > build-asan-configure.log 2>&1 || { cat build-asan-configure.log; exit 1; }
cmake --build build-asan -j "$jobs"
ctest --test-dir build-asan --output-on-failure
