#!/usr/bin/env bash
# The tests of the folders on LibTorch under AddressSanitizer and UBSan: scripts/sanitize.sh [TEST...], of kernels lora models eval train
# device recipes apps (all; apps runs the whole command). Under ThreadSanitizer: scripts/sanitize.sh threads [TEST...], of core formats data
# kernels train (all). About two hours on two cores from nothing; LibTorch itself is as it is installed. Ends with 1 where something was
# found.
set -euo pipefail
cd "$(dirname "$0")/.."
sanitizer=address
[ "${1:-}" != threads ] || { sanitizer=threads; shift; }
tests=("$@")
export OMP_NUM_THREADS=1
if [ "$sanitizer" = threads ]; then
  [ ${#tests[@]} -gt 0 ] || tests=(core formats data kernels train)
  # What LibTorch's libraries do is not seen, so that nothing can be said of it; the suppressions say what is seen of it nonetheless.
  export TSAN_OPTIONS="ignore_noninstrumented_modules=1:allocator_may_return_null=1:suppressions=$PWD/scripts/tsan.supp"
  error='WARNING: ThreadSanitizer'
else
  [ ${#tests[@]} -gt 0 ] || tests=(kernels lora models eval train device recipes apps)
  # LibTorch's containers are not instrumented, and its classes lie in several libraries; what a test asks the allocator for may be absurd.
  # Reports go into files: a test keeps what a command prints to itself. Its exit code is none that a test waits for.
  reports=$(mktemp -d)
  trap 'rm -rf "$reports"' EXIT
  export ASAN_OPTIONS=detect_container_overflow=0:detect_odr_violation=0:allocator_may_return_null=1:detect_leaks=0:quarantine_size_mb=64
  export ASAN_OPTIONS+=:verify_asan_link_order=0:exitcode=99:log_path=$reports/report UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/report
  error='ERROR: AddressSanitizer|runtime error'
fi
found=0
for test in "${tests[@]}"; do
  preset=asan-torch cases='~[slow]' targets=() OMP_NUM_THREADS=1
  case $sanitizer,$test in
    threads,core | threads,formats | threads,data) preset=tsan ;;
    threads,train) preset=tsan-torch cases='*rank*,two workers*,a heartbeat*,a trial of a process*,a signal*,what a trial was*' ;;  # all: hours
    threads,*) preset=tsan-torch OMP_NUM_THREADS=3 ;;
    # Of what ends at a limit of addresses the sanitizer's own 20 TB are the first, of memory its shadow.
    address,apps) cases="~[slow]~memory's end*~a batch that cannot*" targets=(lowrank-command) ;;
  esac
  cmake --preset $preset > /dev/null
  cmake --build build-$preset -j "$(nproc)" --target "test_$test" "${targets[@]}" > build-$preset/build.log 2>&1 || { tail -20 build-$preset/build.log; exit 1; }
  log=build-$preset/$test.log
  build-$preset/tests/test_"$test" "$cases" > "$log" 2>&1 || true
  # Bounds of a test may be missed here (sums are rounded otherwise at -O1, memory comes from another allocator): that is said, and no finding.
  for report in "${reports:-/nowhere}"/*; do
    [ ! -f "$report" ] || { cat "$report" >> "$log" && rm "$report"; }
  done
  if grep -qE '^(All tests passed|test cases:)' "$log" && ! grep -qE "$error" "$log"; then
    echo "$test: nothing found; $(grep -hE '^(All tests passed|test cases:)' "$log")"
  else
    found=1
    echo "$test: FOUND something ($log)"
    grep -m3 -E "$error" "$log" || tail -5 "$log"
  fi
done
exit $found
