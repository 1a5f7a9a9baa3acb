#!/usr/bin/env bash
# Everything that `make test` runs. What reads the shared assets runs where LOWRANK_ASSETS names them.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build}
say() { printf '\n== %s (after %d min %02d s)\n' "$*" $((SECONDS / 60)) $((SECONDS % 60)); }

say "the library as make build leaves it, from another project"
tests/consumers/run.sh "$build" command
say "build of the tests"
cmake --build "$build" -j "$(nproc)"
say "tests by folder"
# One thread each: two pairs of threads on two cores wait for each other more than they work.
OMP_NUM_THREADS=1 ctest --test-dir "$build" --output-on-failure -j "$(nproc)"

# It needs the compiler, what follows mostly waits: beside that, and behind it. A process group of its own, to be ended whole.
scratch=$(mktemp -d)
set -m
{ cmake --preset asan && cmake --build build-asan -j "$(nproc)" && ctest --test-dir build-asan --output-on-failure -j "$(nproc)"; } \
  > "$scratch/asan.log" 2>&1 < /dev/null &
asan=$!
set +m
renice -n 10 -g "$asan" > /dev/null
trap 'kill -- -"$asan" 2> /dev/null || true; rm -rf "$scratch"' EXIT

say "the demo learns its subject"
python3 tests/e2e/demo.py "$build/bin/lowrank"
say "what writes is killed, starved and cut off from power"
python3 tests/e2e/faults.py "$build/bin/lowrank" "$build/tests/libfault_shim.so" --thin
say "several processes train one adapter"
python3 tests/e2e/ranks.py "$build/bin/lowrank"
say "several processes on one search"
python3 tests/e2e/study.py "$build/bin/lowrank"
say "the C++ examples"
"$build/bin/lowrank-embed" examples/base "$scratch/embed"
"$build/bin/lowrank-resume" examples/base "$scratch/resume"
"$build/bin/lowrank-inject" "$scratch/inject"
if [ -n "${LOWRANK_ASSETS:-}" ]; then
  say "whole runs of the command"
  python3 tests/e2e/runs.py "$build/bin/lowrank" "$LOWRANK_ASSETS"
  say "what real files and users broke"
  python3 tests/e2e/cases.py "$build/bin/lowrank" "$LOWRANK_ASSETS"
  say "what a run leaves on a terminal"
  python3 tests/e2e/terminal.py "$build/bin/lowrank" "$LOWRANK_ASSETS"
  say "the first day of someone new"
  python3 tests/e2e/newcomer.py "$build/bin/lowrank" "$LOWRANK_ASSETS"
  say "reports in a browser, events in TensorBoard"
  python3 tests/e2e/report.py "$build/bin/lowrank" "$LOWRANK_ASSETS"
fi
if command -v strace > /dev/null; then
  say "folders that mean harm"
  python3 tests/e2e/hostile.py "$build/bin/lowrank"
else
  say "SKIPPED: folders that mean harm (needs strace)"
fi
say "the library from another project"
tests/consumers/run.sh "$build"

say "torch-free folders under AddressSanitizer and UBSan"
wait "$asan" && ok=1 || ok=0
cat "$scratch/asan.log"
[ "$ok" = 1 ]
