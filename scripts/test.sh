#!/usr/bin/env bash
# Everything that `make test` runs.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
cmake --build "$build" -j "$(nproc)"
ctest --test-dir "$build" --output-on-failure
