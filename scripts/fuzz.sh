#!/usr/bin/env bash
# libFuzzer over the readers of tests/fuzz: scripts/fuzz.sh [SECONDS each] [READER...]. It begins with the committed corpora, keeps what it
# comes upon in build-fuzz/corpus, counts executions in build-fuzz/executions.tsv over all times it was run, and ends with 1 where
# something was found: the input lies in build-fuzz/findings.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
compiler=${LOWRANK_FUZZ_COMPILER:-}
for version in -20 -19 -18 -17 -16 ''; do
  [ -n "$compiler" ] || compiler=$(command -v "clang++$version" || true)
done
[ -n "$compiler" ] || { echo "make fuzz: no clang++ (16 or newer): apt-get install clang-16 libclang-rt-16-dev"; exit 1; }
kind=sanitized build=build-fuzz preset=fuzz
[ -z "${LOWRANK_FUZZ_PLAIN:-}" ] || kind=plain build=build-fuzz-plain preset=fuzz-plain
mkdir -p "$build" build-fuzz/findings
cmake --preset "$preset" -DCMAKE_CXX_COMPILER="$compiler" > "$build/configure.log" 2>&1 || { cat "$build/configure.log"; exit 1; }
cmake --build "$build" --target fuzz_readers -j "${LOWRANK_FUZZ_JOBS:-$(nproc)}"
runner=$build/tests/fuzz/fuzz_readers
# Stacks of allocations are four frames deep: an input that broke something tells all by itself, with malloc_context_size=30.
export ASAN_OPTIONS=detect_odr_violation=0:allocator_may_return_null=1:quarantine_size_mb=2:thread_local_quarantine_size_kb=64:malloc_context_size=4
export UBSAN_OPTIONS=print_stacktrace=1
readers=("$@")
[ ${#readers[@]} -gt 0 ] || mapfile -t readers < <("$runner")
scratch=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/lowrank-fuzz.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
found=0
for reader in "${readers[@]}"; do
  corpus=build-fuzz/corpus/$reader log=build-fuzz/$reader.log
  mkdir -p "$corpus"
  # A second of the CPU is counted by the runner; beside other work on the machine it may be many by the clock.
  LOWRANK_FUZZ_READER=$reader TMPDIR=$scratch "$runner" "$corpus" "tests/fuzz/corpus/$reader" -max_total_time="$seconds" -timeout=20 \
    -rss_limit_mb=2048 -reload=0 -artifact_prefix="build-fuzz/findings/$reader-" -print_final_stats=1 > "$log" 2>&1 && ok=1 || ok=0
  runs=$(awk '/^stat::number_of_executed_units/ {print $2}' "$log")
  coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2)
  printf '%s\t%s\t%s\t%s\t%s\n' "$(date +%F)" "$reader" "${runs:-0}" "$seconds" "$kind" >> build-fuzz/executions.tsv
  total=$(awk -F'\t' -v reader="$reader" '$2 == reader {sum += $3} END {print sum}' build-fuzz/executions.tsv)
  if [ "$ok" = 1 ]; then
    echo "$reader: ${runs:-0} executions, ${coverage:-?} edges; $total in all"
  else
    found=1
    echo "$reader: FOUND something, after ${runs:-?} executions (the input: build-fuzz/findings/$reader-*, the log: $log)"
    grep -m3 -E 'BROKEN|ERROR: |SUMMARY|runtime error|what\(\)' "$log" || tail -5 "$log"
  fi
done
exit $found
