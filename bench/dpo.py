#!/usr/bin/env python3
"""Can a model of 260,000 parameters learn preferences by DPO? Five folds of LLaMA-Factory's 300 English pairs.

    python bench/dpo.py --lowrank build/bin/lowrank --assets DIR --out DIR [--lr 1e-4 3e-4 1e-3]

Each fifth is judged once, at the end of a run on the other four (two epochs, nothing is chosen by it): how often the reward that DPO
implies is higher for the preferred answer, over all pairs that fit, with its 95 % interval (Wilson), beside two that learn nothing: the
shorter answer wins, and the base's own log-probability.
"""
import argparse
import json
import math
import os
import random
from pathlib import Path

from bench_common import model_of, run


def interval(hits: int, n: int) -> tuple:
    z, p = 1.959964, hits / n
    middle, half = (p + z * z / (2 * n)) / (1 + z * z / n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--assets", type=Path, default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lr", nargs="+", default=["1e-4", "3e-4", "1e-3"])
    arguments = parser.parse_args()
    assets, out = Path(arguments.assets), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    pairs = json.loads((assets / "instruct/llamafactory/dpo_en_demo.json").read_text(encoding="utf-8"))
    random.Random(0).shuffle(pairs)
    folds = [pairs[i::5] for i in range(5)]
    for i, fold in enumerate(folds):
        (out / f"held-out-{i}.json").write_text(json.dumps(fold), encoding="utf-8")
        (out / f"train-{i}.json").write_text(json.dumps([p for k, other in enumerate(folds) if k != i for p in other]), encoding="utf-8")
    print("| | held-out accuracy | 95 % | pairs |\n|---|---|---|---|")
    for lr in arguments.lr:
        hits, base, shorter, n = 0, 0, 0, 0
        for i in range(5):
            folder = out / f"lr{lr}-{i}"
            run(arguments.lowrank, "align", "dpo", model_of(assets), "--data", out / f"train-{i}.json", "--val-data", out / f"held-out-{i}.json", "--out", folder, "--seq-len", 512,
                "--epochs", 2, "--batch-size", 2, "--grad-accum", 4, "--lr", lr, "--eval-every", 1000000, "--seed", i + 1, "--resume", "--quiet")
            rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
            last = [row for row in rows if row.get("split") == "validation"][-1]
            report = json.loads((folder / "run.json").read_text())
            count = report["data"]["validation"]["examples"] // 2
            n += count
            hits += round(last["eval_rewards/accuracies"] * count)
            base += round(report["result"]["reference_accuracy"]["validation"] * count)
            shorter += round(report["result"]["shorter_wins"]["validation"] * count)
        rows = [(f"DPO, lr {lr}", hits)] + ([("shorter wins", shorter), ("the base's log-probability", base)] if lr == arguments.lr[-1] else [])
        for name, right in rows:
            low, high = interval(right, n)
            print(f"| {name} | {100 * right / n:.1f} % | {100 * low:.1f} to {100 * high:.1f} % | {n} |", flush=True)


if __name__ == "__main__":
    main()
