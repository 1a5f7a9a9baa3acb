#!/usr/bin/env bash
# Kills a fine-tune at every system call that changes a file, resumes it, and compares with the uninterrupted run.
#
#   tests/e2e/kill_points.sh WORK COMMAND...
#
# WORK: a folder that does not exist yet. COMMAND: a whole `lowrank finetune ...` without --out, --resume and --overwrite;
# short runs are best (--max-steps 4 --save-every 2 --quiet), for each point costs two of them. Every call of write,
# pwrite64, fsync, fdatasync, ftruncate, rename*, mkdir*, unlink* and rmdir of the main thread is a point; with
# STRIDE=k only every k-th write is (a save writes every tensor apart). Needs strace.
set -euo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,9p' "$0" >&2
  exit 2
fi
work=$1
shift
mkdir "$work"
stride=${STRIDE:-1}
calls="write pwrite64 fsync fdatasync ftruncate rename renameat renameat2 mkdir mkdirat unlink unlinkat rmdir"

# What must be equal to the byte, in one listing of hashes.
results() {
  local newest
  newest=$(ls "$1/checkpoints" | grep -E '^checkpoint-[0-9]+$' | sort -t- -k2 -n | tail -1)
  (cd "$1" && sha256sum adapter_model.safetensors adapter_config.json "checkpoints/$newest/optimizer.safetensors" \
    "checkpoints/$newest/adapter_model.safetensors")
  sed -E 's/,"(tokens_per_second|peak_rss_bytes)":[^,}]*//g' "$1/metrics.jsonl" | sha256sum
  # Nothing half-made or half-removed stays behind.
  ls "$1/checkpoints" | grep -vE '^checkpoint-[0-9]+$' || true
}

"$@" --out "$work/whole" >"$work/whole.log" 2>&1
results "$work/whole" >"$work/expected"
strace -f -qq -o "$work/trace" -e trace="$(tr ' ' ',' <<<"$calls")" "$@" --out "$work/counted" >/dev/null 2>&1
results "$work/counted" | diff "$work/expected" - >/dev/null || { echo "two uninterrupted runs differ" >&2; exit 1; }
main=$(head -1 "$work/trace" | cut -d' ' -f1)

points=0
failures=0
for call in $calls; do
  count=$(awk -v pid="$main" -v call="$call(" '$1 == pid && index($2, call) == 1' "$work/trace" | wc -l)
  step=1
  [ "$call" != write ] || step=$stride
  for ((n = 1; n <= count; n += step)); do
    out=$work/run
    rm -rf "$out"
    # The braces keep bash's own "Killed" off the console.
    { strace -f -qq -o /dev/null -e trace="$call" -e inject="$call":signal=KILL:when="$n" "$@" --out "$out"; } \
      >/dev/null 2>&1 || true
    points=$((points + 1))
    if ! "$@" --out "$out" --resume >"$work/resume.log" 2>&1; then
      echo "FAILED: killed at $call $n, --resume ended with an error: $(tail -1 "$work/resume.log")" >&2
    elif ! results "$out" | diff "$work/expected" - >"$work/diff"; then
      echo "FAILED: killed at $call $n, the resumed run differs:" >&2
      cat "$work/diff" >&2
    else
      continue
    fi
    failures=$((failures + 1))
    cp -r "$out" "$work/failure-$call-$n"
  done
  [ "$count" -eq 0 ] || echo "$call: $count calls, step $step"
done
echo "killed at $points points: $failures failures"
[ "$failures" -eq 0 ]
