#!/usr/bin/env python3
"""LoRA training on a GPU: PEFT and lowrank in turn, on the same model, tokens and device, by bench.py's PEFT program.

A random-weight model of Llama-3-8B's shape in bf16, rank 16 on all linear layers, one sequence of 4,096 tokens a step, AdamW. Each side is a process
of its own, alternating; the first steps of each are left out; medians of tokens/s, and the most memory of the GPUs that nvidia-smi showed meanwhile.
The lowrank and the torch of this Python need CUDA: scripts/cuda.sh builds one, and leaves the other in .deps/cuda (with transformers and peft added).

    python bench/gpu.py --lowrank build-cuda/bin/lowrank [--shape 135M] [--seq-len 4096] [--batch-size 1] [--rounds 2] [--steps 8]
                        [--extra --base-dtype nf4 --recompute layer]
"""
import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
from pathlib import Path

import bench


class Memory:
    """The most that was used of the GPUs while this is entered, in bytes."""

    def __enter__(self):
        self.most, self.ends = 0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.ends.wait(0.2):
            used = subprocess.run(["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"], capture_output=True, text=True)
            self.most = max(self.most, sum(int(line) for line in used.stdout.split()) << 20)

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()


def run_lowrank(o: argparse.Namespace, model: Path) -> dict:
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([o.lowrank, "finetune", str(model), "--data", str(model / "corpus.txt"), "--out", out + "/run", "--seq-len", str(o.seq_len),
                        "--batch-size", str(o.batch_size), "--max-steps", str(o.steps), "--val-split", "0", "--rank", str(bench.RANK), "--dtype",
                        "bfloat16", "--no-shuffle", "--schedule", "constant", "--warmup", "0", "--save-every", str(o.steps), "--quiet",
                        "--device", o.device, *o.extra], check=True)
        rows = [row for row in map(json.loads, open(out + "/run/metrics.jsonl")) if "loss" in row]
    return {"rates": [row["tokens_per_second"] for row in rows][o.skip:], "losses": [row["loss"] for row in rows]}


def gpu_name() -> str:
    return subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(bench.ROOT / "build-cuda/bin/lowrank"))
    parser.add_argument("--shape", choices=sorted(bench.SHAPES), default="Llama-3-8B")
    parser.add_argument("--seq-len", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--skip", type=int, default=2)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more options for lowrank")
    o = parser.parse_args()
    print(f"GPU: {gpu_name() if o.device != 'cpu' else 'none'}; {o.shape} shape, bf16, {o.batch_size} x {o.seq_len} tokens, rank {bench.RANK} on all linear layers")
    folder = Path(tempfile.mkdtemp(prefix="lowrank-bench-"))
    sides = {"PEFT": lambda: bench.run_peft(folder, "bfloat16", o.steps, o.skip, 2, "wall", o.seq_len, o.batch_size, o.device),
             "lowrank": lambda: run_lowrank(o, folder)}
    found = {name: [] for name in sides}
    try:
        bench.make_model(folder, "bfloat16", o.shape, o.steps * o.batch_size * o.seq_len)
        for _ in range(o.rounds):
            for name, run in sides.items():
                if o.device == "cpu":
                    found[name].append({**run(), "memory": 0})
                    continue
                with Memory() as memory:
                    result = run()
                found[name].append({**result, "memory": memory.most})
    finally:
        shutil.rmtree(folder)
    rates = {name: statistics.median(rate for one in runs for rate in one["rates"]) for name, runs in found.items()}
    for name, runs in found.items():
        print(f"{name:8} {rates[name]:9.0f} tokens/s ({rates[name] / rates['PEFT']:.2f})   {max(one['memory'] for one in runs) / 1e9:6.1f} GB   "
              f"losses {' '.join(f'{loss:.4f}' for loss in runs[0]['losses'][:4])}")


if __name__ == "__main__":
    main()
