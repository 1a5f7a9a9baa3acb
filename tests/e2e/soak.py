#!/usr/bin/env python3
"""A long run does not grow: soak.py LOWRANK [MINUTES]

One `finetune` (dropout, evaluations, checkpoints) takes steps until MINUTES (default 120) are over. Its resident
memory and its descriptors are read every ten seconds. After the first tenth of the time, in which everything was done once: the line through
the memory of its own (RssAnon) rises by at most 1 MB an hour, and the fewest descriptors are as many in its last third as in its first.
"""
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
EVERY = 10  # seconds


def own_memory(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no RssAnon in /proc")


def descriptors(pid):
    """The fewest of a few looks: a checkpoint that is being written has one open."""
    looks = []
    for _ in range(5):
        looks.append(len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())))
        time.sleep(0.05)
    return min(looks)


def slope(points):
    """Bytes an hour of the line through (seconds, bytes)."""
    middle_x, middle_y = statistics.fmean(x for x, _ in points), statistics.fmean(y for _, y in points)
    across = sum((x - middle_x) ** 2 for x, _ in points)
    return 3600 * sum((x - middle_x) * (y - middle_y) for x, y in points) / across


def main():
    lowrank, minutes = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 120.0
    place = pathlib.Path(tempfile.mkdtemp(prefix="lowrank-soak."))
    command = [lowrank, "finetune", str(ROOT / "examples/base"), "--data", str(ROOT / "examples/art-history"), "--out", str(place / "run"),
               "--max-steps", "5000000", "--seq-len", "64", "--batch-size", "2", "--dropout", "0.1", "--eval-every", "50", "--save-every", "50",
               "--threads", "1", "--quiet"]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the run goes with this
    begun = time.time()
    log = open(place / "log", "w")
    run = subprocess.Popen(command, stdout=log, stderr=log)
    points, handles = [], []
    try:
        while time.time() - begun < 60 * minutes:
            time.sleep(EVERY)
            if run.poll() is not None:
                raise SystemExit(f"the run ended by itself with {run.returncode}: {(place / 'log').read_text()[-2000:]}")
            seconds = time.time() - begun
            handles.append((seconds, descriptors(run.pid)))
            points.append((seconds, own_memory(run.pid)))
            if len(points) % 30 == 0:
                print(f"{seconds / 60:.0f} min: {points[-1][1] / 1e6:.1f} MB of its own, {handles[-1][1]} descriptors", flush=True)
    finally:
        run.send_signal(signal.SIGTERM)
        run.wait(60)
    steps = sum(1 for _ in open(place / "run" / "metrics.jsonl"))
    warm = 6 * minutes
    points, handles = [p for p in points if p[0] > warm], [n for seconds, n in handles if seconds > warm]
    rise = slope(points)
    print(f"{minutes:g} min, {steps:,} lines of training: {points[0][1] / 1e6:.2f} MB after the first tenth, {points[-1][1] / 1e6:.2f} at the end, "
          f"{rise / 1e6:+.3f} MB an hour; {min(handles)} to {max(handles)} descriptors")
    shutil.rmtree(place)
    third = len(handles) // 3  # a look in the middle of a slow save sees one more; what leaks lifts the fewest
    if rise > 1e6 or min(handles[-third:]) != min(handles[:third]):
        raise SystemExit("FAILED: it grows")
    print("ok")


if __name__ == "__main__":
    main()
