#!/usr/bin/env python3
"""Decoding one sequence: transformers' generate and `lowrank generate` in turn, on the same model and machine.

A random-weight model of a shape of bench.py's in a dtype's file; greedy; both computing in fp32. Each side is a process of its own, alternating;
tokens/s of the new tokens after a short prompt, medians; and which share of the speed at which memory is read (a sum over a large tensor,
measured in the same run) the file's bytes times tokens/s are. transformers makes an fp32 copy of a bf16 file, as it does when told
to compute in fp32; lowrank reads the file as it lies. --base-dtype also tries lowrank's int8 and nf4 bases.

    python bench/decode.py --lowrank build/bin/lowrank [--shape 135M] [--file-dtype float32 bfloat16] [--rounds 3] [--tokens 96]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import bench

THEIRS = """
import json, sys, time, torch
from transformers import AutoModelForCausalLM
folder, tokens, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
prompt = torch.tensor([[5, 6, 7, 8]])
def run(n):
    begin = time.perf_counter()
    model.generate(prompt, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)
    return time.perf_counter() - begin
run(4)
print(json.dumps({"rate": tokens / run(tokens)}))
"""
BANDWIDTH = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
x = torch.ones(1 << 28)
best = 1e9
for _ in range(5):
    begin = time.perf_counter()
    x.sum()
    best = min(best, time.perf_counter() - begin)
print(x.nbytes / best)
"""


def output(*command) -> str:
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def ours(command: str, model: Path, tokens: int, threads: int, extra: list) -> float:
    said = json.loads(output(command, "generate", model, "--prompt", "the painter", "--max-new-tokens", tokens, "--temperature", 0, "--dtype", "float32",
                             "--threads", threads, "--json", *extra))
    return len(said["ids"]) / said["seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(bench.ROOT / "build/bin/lowrank"))
    parser.add_argument("--shape", choices=sorted(bench.SHAPES), default="135M")
    parser.add_argument("--file-dtype", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--base-dtype", nargs="*", default=[], choices=["int8", "nf4"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    print(f"CPU: {bench.cpu_name()}, {arguments.threads} threads; {arguments.shape} shape, {arguments.tokens} new tokens, batch 1, computed in fp32")
    bandwidth = float(output(sys.executable, "-c", BANDWIDTH, arguments.threads))
    print(f"memory is read at {bandwidth / 1e9:.1f} GB/s")
    print(f"{'file':10} {'base':8} {'transformers':>12} {'lowrank':>9} {'ratio':>6}   of memory's speed")
    with tempfile.TemporaryDirectory() as work:
        for dtype in arguments.file_dtype:
            model = Path(work) / dtype
            bench.make_model(model, dtype, arguments.shape)
            size = (model / "model.safetensors").stat().st_size
            theirs, found = [], {base: [] for base in ["", *arguments.base_dtype]}
            for _ in range(arguments.rounds):
                theirs.append(json.loads(output(sys.executable, "-W", "ignore", "-c", THEIRS, model, arguments.tokens, arguments.threads))["rate"])
                for base, rates in found.items():
                    rates.append(ours(arguments.lowrank, model, arguments.tokens, arguments.threads, ["--base-dtype", base] if base else []))
            for base, rates in found.items():
                rate, reference = statistics.median(rates), statistics.median(theirs)
                share = f"{100 * rate * size / bandwidth:.0f} %" if not base else ""
                print(f"{dtype:10} {base or 'as it is':8} {reference:12.1f} {rate:9.1f} {rate / reference:6.2f}   {share}")


if __name__ == "__main__":
    main()
