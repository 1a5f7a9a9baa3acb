#!/usr/bin/env python3
"""Forgetting bounded: stories260K learns Vasari's Lives freely, with --max-forgetting, and with that and stories among the training data.

    python bench/forgetting.py --lowrank build/bin/lowrank --assets DIR --out DIR [--seeds 3] [--bound 5%] [--lr 1e-3]

Each seed deals the 2,317 stories out anew: 240 for replay (trained on beside Vasari in the third way only), 240 as --general-data, and
240 that nothing has seen. The domain is characters 400,000 to 440,000 of the book; 0 to 200,000 are trained on, 300,000 to 340,000 validate.
"""
import argparse
import os
import random
from pathlib import Path

from bench_common import model_of, run, run_json, spread, vasari

STORIES = 240
OPTIONS = ["--rank", "8", "--alpha", "16", "--epochs", "1", "--seq-len", "256", "--schedule", "constant", "--eval-every", "1000000", "--quiet"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--assets", type=Path, default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bound", default="5%")
    parser.add_argument("--lr", default="1e-3")
    arguments = parser.parse_args()
    assets, out = Path(arguments.assets), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    text = vasari(assets)
    for name, (begin, end) in {"train": (0, 200000), "validation": (300000, 340000), "domain": (400000, 440000)}.items():
        (out / f"{name}.txt").write_text(text[begin:end], encoding="utf-8")
    stories = (assets / "corpora/general/tinystories_2MB.txt").read_text(encoding="utf-8")
    separator = "<|endoftext|>" if "<|endoftext|>" in stories else "\n\n"
    stories = [s.strip() for s in stories.split(separator) if len(s.strip()) > 200]

    results = {name: {"gain": [], "general": []} for name in ("free", "bounded", "bounded + replay")}
    for seed in range(1, arguments.seeds + 1):
        work = out / f"seed{seed}"
        work.mkdir(exist_ok=True)
        dealt = random.Random(seed).sample(stories, 3 * STORIES)
        for i, name in enumerate(("replay", "general", "unseen")):
            (work / f"{name}.txt").write_text("\n\n".join(dealt[i * STORIES:(i + 1) * STORIES]), encoding="utf-8")
        bounded = ["--general-data", work / "general.txt", "--max-forgetting", arguments.bound]
        ways = {"free": ([], []), "bounded": ([], bounded), "bounded + replay": ([work / "replay.txt"], bounded)}
        folders = []
        for i, (more, options) in enumerate(ways.values()):
            folders.append(work / f"way{i}")
            run(arguments.lowrank, "finetune", model_of(assets), "--data", out / "train.txt", *more, "--val-data", out / "validation.txt", "--out", folders[-1], "--seed", seed,
                "--lr", arguments.lr, "--resume", *OPTIONS, *options)
        models = run_json(arguments.lowrank, "evaluate", model_of(assets), "--compare", *(f"way{i}={folder}" for i, folder in enumerate(folders)), "--data",
                          f"domain={out / 'domain.txt'}", f"unseen={work / 'unseen.txt'}", "--seq-len", 256, "--json")["models"]
        base = models["base"]["sets"]
        for i, name in enumerate(results):
            sets = models[f"way{i}"]["sets"]
            results[name]["gain"].append(base["domain"]["nll"] - sets["domain"]["nll"])
            results[name]["general"].append(100 * (sets["unseen"]["perplexity"] / base["unseen"]["perplexity"] - 1))

    print("| | domain gain, nats | kept | unseen stories, perplexity | each seed |\n|---|---|---|---|---|")
    for name, row in results.items():
        kept = [100 * gain / free for gain, free in zip(row["gain"], results["free"]["gain"])]
        each = "; ".join(f"{value:+.2f} %" for value in row["general"])
        print(f"| {name} | {spread(row['gain'], 3)} | {spread(kept, 0)} % | +{spread(row['general'], 2)} % | {each} |")


if __name__ == "__main__":
    main()
