#!/usr/bin/env python3
"""Two ranks pinned to a core each against one on one core: the 135M shape of bench.py, rank 16 on all linear layers, the same examples
a step. Both in turn; of each the fastest step counts, since other programs use the cores too. Then what 8 to 64 ranks would do over
1 and 10 Gbit/s, from the parts that were measured.

    python bench/ranks.py [--lowrank build/bin/lowrank] [--rounds 3] [--steps 4] [--seq 256] [--dtype float32]
"""
import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
from pathlib import Path

import bench

LATENCY = 100e-6  # seconds one way between machines of one network


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def train(arguments, model: Path, ranks: int) -> dict:
    with tempfile.TemporaryDirectory() as out:
        command = [arguments.lowrank, "finetune", str(model), "--data", str(model / "corpus.txt"), "--out", out + "/run", "--seq-len",
                   str(arguments.seq), "--batch-size", "2", "--grad-accum", str(2 // ranks), "--max-steps", str(arguments.steps), "--val-split",
                   "0", "--rank", str(bench.RANK), "--dtype", arguments.dtype, "--threads", "1", "--no-shuffle", "--schedule", "constant",
                   "--warmup", "0", "--save-every", str(arguments.steps), "--samples", "0", "--quiet"]
        port, started = str(free_port()), []
        for rank in range(ranks):
            more = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if ranks > 1 else {}
            started.append(subprocess.Popen(["taskset", "-c", str(rank), *command], env={**os.environ, "OMP_NUM_THREADS": "1", **more}))
        if any([process.wait() != 0 for process in started]):
            raise SystemExit("a run failed")
        rows = [json.loads(line) for line in open(out + "/run/metrics.jsonl")]
        rows = [row for row in rows if "loss" in row]
        result = json.load(open(out + "/run/run.json"))["result"]
        rates = [row["tokens_per_second"] for row in rows[1:]]
        tokens = [b["tokens"] - a["tokens"] for a, b in zip(rows, rows[1:])]
        return {"rates": rates, "seconds": [t / r for t, r in zip(tokens, rates)], "tokens": statistics.mean(tokens),
                "communication": result.get("communication"), "losses": [row["loss"] for row in rows]}


def model_of_ranks(ranks: int, compute: float, gradient_bytes: int, add_seconds: float, bits: float) -> tuple:
    """(seconds in communication, efficiency) of a step: each rank sends and receives 2 (N-1)/N of the gradients, in two rounds, and four
    small messages go first; adding up takes what it took here."""
    wire = 2 * (ranks - 1) / ranks * gradient_bytes * 8 / bits + 6 * LATENCY
    seconds = wire + add_seconds
    return seconds, compute / (compute + seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(bench.ROOT / "build/bin/lowrank"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seq", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--model", type=Path, help="a folder that is kept: the model is made there where there is none")
    arguments = parser.parse_args()
    folder = arguments.model or Path(tempfile.mkdtemp(prefix="lowrank-bench-"))
    try:
        if not (folder / "corpus.txt").exists():
            bench.make_model(folder, arguments.dtype, "135M")
        one, two = [], []
        for _ in range(arguments.rounds):
            one.append(train(arguments, folder, 1))
            two.append(train(arguments, folder, 2))
    finally:
        if arguments.model is None:
            shutil.rmtree(folder)
    fastest = [min(s for run in side for s in run["seconds"]) for side in (one, two)]
    traffic = min((run["communication"] for run in two), key=lambda c: c["seconds_summing"])
    sum_seconds = traffic["seconds_summing"] / arguments.steps
    gradient_bytes = traffic["bytes_sent_a_step"]  # of 2 ranks each sends 2 (N-1)/N = 1 times the gradients
    tokens = one[0]["tokens"]
    print(f"CPU: {bench.cpu_name()}; {arguments.dtype}, {tokens:.0f} tokens a step, gradients of {gradient_bytes / 1e6:.1f} MB")
    print(f"one rank, one core:        {tokens / fastest[0]:7.1f} tokens/s, {fastest[0]:.2f} s a step")
    print(f"two ranks, one core each:  {tokens / fastest[1]:7.1f} tokens/s, {fastest[1]:.2f} s a step; "
          f"efficiency {fastest[0] / (2 * fastest[1]):.3f}; a sum takes {1e3 * sum_seconds:.0f} ms")
    print(f"largest difference of losses: {max(abs(a - b) for a, b in zip(one[0]['losses'], two[0]['losses'])):.1e}")
    compute = fastest[0] / 2  # of a rank's own micro-batch
    print(f"\nranks of one core with {tokens / 2:.0f} tokens a step each ({compute:.2f} s), by the model: seconds in communication, efficiency")
    print(f"{'ranks':>6} {'1 Gbit/s':>16} {'10 Gbit/s':>16}")
    for ranks in (2, 8, 16, 32, 64):
        cells = [model_of_ranks(ranks, compute, gradient_bytes, sum_seconds, bits) for bits in (1e9, 1e10)]
        print(f"{ranks:6} " + " ".join(f"{seconds:8.3f} {100 * efficiency:5.1f} %" for seconds, efficiency in cells))


if __name__ == "__main__":
    main()
