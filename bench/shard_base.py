#!/usr/bin/env python3
"""How much of a frozen base is resident in a rank with --shard-base, beside a rank that has it whole: the model's mapped pages, and what
the process takes of its own beyond that rank (the layers that are whole at a time). Both run the same steps on the same ranks, and their
adapters must be the same bytes. Memory is read from /proc/PID/smaps and status all the while; the peaks count.

    python bench/shard_base.py [--lowrank build/bin/lowrank] [--shape TinyLlama] [--ranks 4] [--steps 2] [--seq 32] [--model FOLDER]
"""
import argparse
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import bench

LAUNCHED = re.compile("^(RANK|WORLD_SIZE|LOCAL_|MASTER_|OMPI_|PMI|SLURM_|TORCHELASTIC_|PET_)")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def mapped_and_own(pid: int) -> tuple:
    """(bytes of the model's files that are resident, bytes of the process's own), now."""
    mapped, ours = 0, False
    for line in open(f"/proc/{pid}/smaps"):
        if re.match("^[0-9a-f]+-[0-9a-f]+ ", line):
            ours = line.rstrip().endswith(".safetensors") and "adapter" not in line
        elif ours and line.startswith("Rss:"):
            mapped += int(line.split()[1]) * 1024
    own = next(int(line.split()[1]) * 1024 for line in open(f"/proc/{pid}/status") if line.startswith("RssAnon:"))
    return mapped, own


def train(arguments, model: Path, out: Path, shard: str) -> dict:
    command = [arguments.lowrank, "finetune", str(model), "--data", str(model / "corpus.txt"), "--out", str(out), "--seq-len", str(arguments.seq),
               "--batch-size", "1", "--max-steps", str(arguments.steps), "--val-split", "0", "--no-shuffle", "--samples", "0", "--threads", "1",
               "--recompute", "none", "--pack", "stream", "--quiet", "--shard-base", shard]
    port, clean = str(free_port()), {k: v for k, v in os.environ.items() if not LAUNCHED.match(k)}
    started = [subprocess.Popen(command, env={**clean, "RANK": str(rank), "WORLD_SIZE": str(arguments.ranks), "MASTER_ADDR": "127.0.0.1",
                                              "MASTER_PORT": port}) for rank in range(arguments.ranks)]
    peaks = [(0, 0)] * arguments.ranks
    while any(process.poll() is None for process in started):
        for rank, process in enumerate(started):
            try:
                peaks[rank] = tuple(map(max, peaks[rank], mapped_and_own(process.pid)))
            except (OSError, StopIteration):
                pass  # it has ended
        time.sleep(0.02)
    if any(process.wait() != 0 for process in started):
        raise SystemExit(f"the run with --shard-base {shard} failed")
    rows = [json.loads(line) for line in open(out / "metrics.jsonl")]
    return {"peaks": peaks, "losses": [row["loss"] for row in rows if "loss" in row], "run": json.load(open(out / "run.json")),
            "sha256": hashlib.sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(bench.ROOT / "build/bin/lowrank"))
    parser.add_argument("--shape", choices=sorted(bench.SHAPES), default="TinyLlama")
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--seq", type=int, default=32)
    parser.add_argument("--model", type=Path, help="a folder that is kept: the model is made there where there is none")
    arguments = parser.parse_args()
    folder = arguments.model or Path(tempfile.mkdtemp(prefix="lowrank-bench-"))
    try:
        if not (folder / "corpus.txt").exists():
            bench.make_model(folder, "bfloat16", arguments.shape)
        with tempfile.TemporaryDirectory() as work:
            whole, shared = (train(arguments, folder, Path(work) / shard, shard) for shard in ("off", "always"))
    finally:
        if arguments.model is None:
            shutil.rmtree(folder)
    shares, traffic = shared["run"]["model"]["shares"], shared["run"]["result"]["communication"]
    print(f"{arguments.shape} shape in bfloat16, {arguments.ranks} ranks, {arguments.steps} steps of {arguments.seq} tokens")
    worst = 0
    for rank, ((mapped, own), (mapped_whole, own_whole)) in enumerate(zip(shared["peaks"], whole["peaks"])):
        base = mapped + max(0, own - own_whole)
        worst = max(worst, base / mapped_whole)
        print(f"rank {rank}: {base / 1e9:.3f} GB of the base resident ({mapped / 1e9:.3f} mapped, {(own - own_whole) / 1e9:.3f} of its own "
              f"beyond), whole {mapped_whole / 1e9:.3f} GB: {base / mapped_whole:.3f}")
    print(f"largest share {worst:.3f}; by the plan {(shares['held_bytes'] + shares['buffer_bytes']) / shares['total_bytes']:.3f}; "
          f"{traffic['base_bytes_received'] / arguments.steps / 1e9:.2f} GB received a step, {traffic['seconds_waiting_for_base']:.1f} s waited for")
    print(f"losses {'equal' if whole['losses'] == shared['losses'] else 'DIFFER'}, adapters "
          f"{'byte-equal' if whole['sha256'] == shared['sha256'] else 'DIFFER'}")


if __name__ == "__main__":
    main()
