#!/usr/bin/env python3
"""What a GPU trains is what the CPU trains: run by scripts/cuda.sh where there is one.

    gpu.py LOWRANK [--device cuda]

On the example model: losses of 20 steps on the device beside the CPU's, in fp32 and bf16, with dropout, DoRA, weights in int8 and NF4,
recomputation; classification and DPO; evaluation of an adapter that the other one trained; the same text; a run that is killed and
goes on; two ranks where there are two GPUs. A device's sums are rounded in another order: losses are held to bounds, not to bytes.
"""
import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from checks import check

ROOT = pathlib.Path(__file__).resolve().parents[2]
BASE, DATA = ROOT / "examples" / "base", ROOT / "examples" / "art-history" / "train"
STEPS = 20


class Gpu:
    def __init__(self, lowrank, device, work):
        self.lowrank, self.device, self.work = str(lowrank), device, work
        self.pairs, self.labels = work / "pairs.jsonl", work / "labels.jsonl"
        rows = [(f"What is {i} and {i % 7}?", f" It is {i + 1 + i % 7}", f" It is {i}") for i in range(1, 41)]
        self.pairs.write_text("".join(json.dumps({"prompt": p, "chosen": c, "rejected": r}) + "\n" for p, c, r in rows))
        self.labels.write_text("".join(json.dumps({"text": p + c, "label": "odd" if i % 2 else "even"}) + "\n" for i, (p, c, _) in enumerate(rows)))

    def command(self, *arguments):
        return [self.lowrank, *map(str, arguments)]

    def run(self, *arguments):
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def training(self, name, device, *options, verb=("finetune",), data=DATA):
        common = {"--dtype": "float32", "--seq-len": 128, "--batch-size": 2, "--grad-accum": 2, "--max-steps": STEPS, "--lr": "1e-3"}
        given = [word for option, value in common.items() if option not in options for word in (option, value)]
        return [*verb, BASE, "--data", data, *given, "--out", self.work / name, "--device", device, *options]

    def losses(self, name):
        rows = [json.loads(line) for line in open(self.work / name / "metrics.jsonl", encoding="utf-8")]
        return [row["loss"] for row in rows if "loss" in row]


def apart(a, b):
    return max(abs(x - y) / max(1.0, abs(y)) for x, y in zip(a, b)) if len(a) == len(b) else float("inf")


def trains(g):
    for name, bound, options, more in (("fp32", 1e-4, (), {}), ("bf16", 2e-2, ("--dtype", "bfloat16"), {}),
                                       ("dropout", 1e-4, ("--dropout", 0.1), {}), ("DoRA", 1e-4, ("--dora",), {}),
                                       ("recomputed", 1e-4, ("--recompute", "layer"), {}), ("nf4", 1e-4, ("--base-dtype", "nf4"), {}),
                                       ("int8", 1e-4, ("--base-dtype", "int8"), {}), ("all weights", 1e-4, ("--method", "full"), {}),
                                       ("labels", 1e-4, ("--task", "classification"), {"data": g.labels}),
                                       ("dpo", 1e-4, (), {"data": g.pairs, "verb": ("align", "dpo")})):
        there, here = name.replace(" ", "-"), name.replace(" ", "-") + "-cpu"
        g.run(*g.training(there, g.device, *options, **more))
        g.run(*g.training(here, "cpu", *options, **more))
        far = apart(g.losses(there), g.losses(here))
        check(f"{name}: {STEPS} losses are the CPU's", far <= bound, f"{far:.1e} apart")


def crosses(g):
    held_out = ROOT / "examples" / "art-history" / "heldout.txt"
    nll = [json.loads(g.run("evaluate", BASE, "--adapter", g.work / "fp32", "--data", held_out, "--dtype", "float32", "--device", where, "--json"))["nll"]
           for where in (g.device, "cpu")]
    check("an adapter is evaluated alike", abs(nll[0] - nll[1]) <= 1e-4, f"{nll[0]:.6f} {nll[1]:.6f}")
    texts = [json.loads(g.run("generate", BASE, "--adapter", g.work / "fp32", "--prompt", "The altarpiece", "--max-new-tokens", 24, "--temperature", 0,
                              "--dtype", "float32", "--device", where, "--json"))["ids"] for where in (g.device, "cpu")]
    check("it writes the same tokens", texts[0] == texts[1], str(texts[0][-8:]))


def goes_on(g):
    arguments = g.training("killed", g.device, "--save-every", 5, "--max-steps", 400)
    process = subprocess.Popen(g.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list((g.work / "killed").glob("checkpoints/*")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code = process.wait(120)
    check("a signal ends it with a checkpoint", code == 128 + signal.SIGTERM, f"exit {code}")
    done = len(g.losses("killed"))
    g.run(*g.training("killed", g.device, "--save-every", 5, "--max-steps", 400, "--resume"))
    check("and it goes on", len(g.losses("killed")) == 400, f"from step {done}")


def ranks(g):
    count = len(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.splitlines()) if g.device.startswith("cuda") else 0
    if count < 2:
        print(f"--   two ranks over NCCL: {count} GPU here, not tried")
        return
    processes = []
    for rank in range(2):
        launch = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29531"}
        processes.append(subprocess.Popen(g.command(*g.training("ranks", "cuda", "--grad-accum", 1)), env={**os.environ, **launch}, stdout=subprocess.DEVNULL))
    check("two ranks end", [process.wait(300) for process in processes] == [0, 0])
    over = json.loads((g.work / "ranks" / "run.json").read_text())["result"]["communication"]["over"]
    far = apart(g.losses("ranks"), g.losses("fp32"))
    check("two ranks have the losses of one", far <= 1e-4 and "NCCL" in over, f"{far:.1e} apart, over {over}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lowrank", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowrank-gpu-") as work:
        g = Gpu(options.lowrank.resolve(), options.device, pathlib.Path(work))
        for part in (trains, crosses, goes_on, ranks):
            part(g)


if __name__ == "__main__":
    main()
