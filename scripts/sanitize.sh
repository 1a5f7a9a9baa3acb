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
  # Where memory comes from, and how much of it is taken, is another matter with such an allocator.
  build-asan-torch/tests/test_"$test" '~[slow]' '~[memory]' > "build-asan-torch/$test.log" 2>&1 && { echo "$test: $(tail -2 "build-asan-torch/$test.log" | head -1)"; continue; }
  found=1
  echo "$test: FOUND something (build-asan-torch/$test.log)"
  grep -m5 -E 'ERROR: AddressSanitizer|runtime error|FAILED|test cases:' "build-asan-torch/$test.log" || tail -5 "build-asan-torch/$test.log"
done
exit $found
