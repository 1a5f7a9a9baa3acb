#!/usr/bin/env bash
# The tests of the folders on LibTorch under AddressSanitizer and UBSan: scripts/sanitize.sh [TEST...], of kernels lora models eval train
# device recipes (all). About an hour on two cores from nothing; LibTorch itself is as it is installed. Ends with 1 where something was found.
set -euo pipefail
cd "$(dirname "$0")/.."
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(kernels lora models eval train device recipes)
cmake --preset asan-torch > /dev/null
# LibTorch's containers are not instrumented, and its classes lie in several libraries; what a test asks the allocator for may be absurd.
export ASAN_OPTIONS=detect_container_overflow=0:detect_odr_violation=0:allocator_may_return_null=1:detect_leaks=0:quarantine_size_mb=64
export UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1
found=0
for test in "${tests[@]}"; do
  cmake --build build-asan-torch -j "$(nproc)" --target "test_$test" > build-asan-torch/build.log 2>&1 || { tail -20 build-asan-torch/build.log; exit 1; }
  log=build-asan-torch/$test.log
  build-asan-torch/tests/test_"$test" '~[slow]' > "$log" 2>&1 || true
  # Bounds of a test may be missed here (sums are rounded otherwise at -O1, memory comes from another allocator): that is said, and no finding.
  if grep -qE '^(All tests passed|test cases:)' "$log" && ! grep -qE 'ERROR: AddressSanitizer|runtime error' "$log"; then
    echo "$test: nothing found; $(grep -hE '^(All tests passed|test cases:)' "$log")"
  else
    found=1
    echo "$test: FOUND something ($log)"
    grep -m3 -E 'ERROR: AddressSanitizer|runtime error' "$log" || tail -5 "$log"
  fi
done
exit $found
