#!/usr/bin/env python3
"""Whole runs of the command on a real model and real rows, compared to the byte or to rounding.

    runs.py LOWRANK ASSETS [STARTS]

On stories260K, in fp32 and bf16 files, and GSM8K rows (prompts masked, unequal lengths): 1 to 4 threads, with and without recomputation, give
byte-equal adapters; so do 40 starts (or STARTS), eight at a time; 8x1, 4x2 and 1x8 equal losses; a run that is killed with SIGKILL in the middle of an epoch and resumed ends
as one that was not; a folder that cannot be written and a file-size limit leave the checkpoint before, with a clear message.
"""
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time

from checks import check

ADAPTER = "adapter_model.safetensors"


class Runs:
    def __init__(self, lowrank, assets, work):
        self.lowrank, self.models = str(lowrank), assets / "models"
        self.work = work
        rows = (assets / "instruct" / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:160]
        self.data = work / "gsm8k.jsonl"
        with open(self.data, "w", encoding="utf-8") as file:
            for row in map(json.loads, rows):
                file.write(json.dumps({"prompt": row["question"], "completion": " " + row["answer"]}) + "\n")

    def arguments(self, name, *options, model="stories260K-hf"):
        return [self.lowrank, "finetune", str(self.models / model), "--data", str(self.data), "--val-split", "0", "--seq-len", "384", "--rank", "4", "--lr", "1e-3",
                "--quiet", "--out", str(self.work / name), *map(str, options)]

    def run(self, name, *options, expect=0, prefix=(), model="stories260K-hf", **more):
        done = subprocess.run([*prefix, *self.arguments(name, *options, model=model)], capture_output=True, text=True, **more)
        if done.returncode != expect:
            sys.exit(f"{name}: exit {done.returncode}, expected {expect}\n{done.stdout}{done.stderr}")
        return done

    def digest(self, name, file=ADAPTER):
        return hashlib.sha256((self.work / name / file).read_bytes()).hexdigest()

    def rows(self, name):
        rows = [json.loads(line) for line in open(self.work / name / "metrics.jsonl", encoding="utf-8")]
        return [{k: v for k, v in row.items() if k not in ("tokens_per_second", "peak_rss_bytes")} for row in rows]


def equal_bytes(runs):
    common = ["--max-steps", 20, "--batch-size", 3, "--dropout", 0.1]
    for model in ("stories260K-hf", "stories260K-hf-bf16"):
        of = f"{model} in fp32"
        for threads in (1, 2, 3):
            runs.run(f"{model}-{threads}", *common, "--dtype", "float32", "--threads", threads, "--recompute", "none", model=model)
        digests = {runs.digest(f"{model}-{t}") for t in (1, 2, 3)}
        check(f"{of}, 1, 2 and 3 threads: byte-equal adapters after 20 steps", len(digests) == 1)
        runs.run(f"{model}-recompute", *common, "--dtype", "float32", "--recompute", "layer", model=model)
        check(f"{of}, recomputation with dropout: byte-equal", runs.digest(f"{model}-recompute") in digests)
    for threads in (1, 4):
        runs.run(f"pissa-{threads}", "--max-steps", 2, "--init", "pissa", "--threads", threads, timeout=300)
    check("a beginning by decompositions, 1 and 4 threads: byte-equal", runs.digest("pissa-1") == runs.digest("pissa-4"))


def accumulation(runs):
    losses = {}
    for batch, accumulate in ((8, 1), (4, 2), (1, 8)):
        name = f"batch-{batch}"
        runs.run(name, "--max-steps", 6, "--batch-size", batch, "--grad-accum", accumulate, "--no-shuffle")
        losses[batch] = [row["loss"] for row in runs.rows(name) if "loss" in row and "split" not in row]
    worst = max(abs(a - b) / a for b8 in (4, 1) for a, b in zip(losses[8], losses[b8], strict=True))
    check("8x1 = 4x2 = 1x8 by accumulation on GSM8K rows", len(losses[8]) == 6 and worst <= 1e-5, f"(losses differ by {worst:.1e} relative)")


def killed(runs):
    options = ["--max-steps", 30, "--batch-size", 4, "--dropout", 0.1, "--save-every", 4]
    runs.run("whole", *options)
    process = subprocess.Popen(runs.arguments("killed", *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (runs.work / "killed" / "checkpoints" / "checkpoint-8").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    check("the run was killed before its end", process.wait() == -signal.SIGKILL)
    runs.run("killed", *options, "--resume")
    same = runs.digest("whole") == runs.digest("killed") and runs.rows("whole") == runs.rows("killed")
    optimizer = "checkpoints/checkpoint-30/optimizer.safetensors"
    check("killed and resumed: byte-equal adapter and optimiser, equal metrics", same and runs.digest("whole", optimizer) == runs.digest("killed", optimizer))


def no_room(runs):
    options = ["--max-steps", 8, "--batch-size", 2, "--save-every", 2]
    small = (runs.work / "whole" / ADAPTER).stat().st_size // 2

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, small))

    done = runs.run("full", *options, expect=74, preexec_fn=limit)
    check("a full disk: the message says how many bytes were needed", "bytes" in done.stderr and done.stderr.count("\n") == 1, done.stderr.strip())
    check("and no half file stays", not list((runs.work / "full").rglob("*.safetensors*")))

    # Root may write anywhere: without that right it is as any user.
    prefix = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    folder = runs.work / "read-only"
    folder.mkdir()
    folder.chmod(0o555)
    done = runs.run("read-only/out", *options, expect=74, prefix=prefix)
    check("a read-only folder is refused in one sentence", "read-only" in done.stderr and done.stderr.count("\n") == 1, done.stderr.strip())


def starts(runs, count):
    """What threads do when they compute for the first time must not depend on who comes first."""
    def digest(i):
        runs.run(f"start-{i}", "--max-steps", 1, "--recompute", "none")
        return runs.digest(f"start-{i}")

    with concurrent.futures.ThreadPoolExecutor(8) as eight:
        digests = collections.Counter(eight.map(digest, range(count)))
    check(f"{count} starts, eight at a time, end in the same bytes", len(digests) == 1, str(digests))


def main():
    lowrank, assets = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix="lowrank-runs-") as folder:
        runs = Runs(lowrank, assets, pathlib.Path(folder))
        equal_bytes(runs)
        accumulation(runs)
        killed(runs)
        no_room(runs)
        starts(runs, int(sys.argv[3]) if len(sys.argv) > 3 else 40)


if __name__ == "__main__":
    main()
