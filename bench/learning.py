#!/usr/bin/env python3
"""What each method learns and forgets: stories260K taught art history by every adapter method and by full fine-tuning.

    python bench/learning.py --lowrank build/bin/lowrank --assets DIR --out DIR [--seeds 3] [--only NAME...]

Trains on the first 200,000 characters of Vasari's Lives. The learning rate of each method is the best of --lrs on the validation
pieces (5 % of the training text) with the first seed; the others then run with that rate. Each result is measured on another book
(Pater: in-domain), Shakespeare (near), TinyStories (far: what the base was made of), Portuguese art criticism, and a copy of the
in-domain text with 5 % of its characters mistyped, 60,000 characters each: perplexity, mean and standard deviation over the seeds.
A run that is there already is not made again.
"""
import argparse
import json
import math
import os
import statistics
from pathlib import Path

from bench_common import model_of, run, run_json, spread

METHODS = {
    "LoRA r=1": ["--rank", "1", "--alpha", "2"],
    "LoRA r=4": ["--rank", "4", "--alpha", "8"],
    "LoRA r=16": ["--rank", "16", "--alpha", "32"],
    "LoRA r=64": ["--rank", "64", "--alpha", "128"],
    "DoRA r=16": ["--rank", "16", "--alpha", "32", "--dora"],
    "PiSSA r=16": ["--rank", "16", "--alpha", "32", "--init", "pissa"],
    "LoRA+ r=16": ["--rank", "16", "--alpha", "32", "--lora-plus-ratio", "16"],
    "L1 r=16": ["--rank", "16", "--alpha", "32", "--l1", "0.1"],
    "L2 r=16": ["--rank", "16", "--alpha", "32", "--l2", "1"],
    "full": ["--method", "full"],
}
SETS = {
    "in-domain": ("corpora/art-history/pater-renaissance.pg2398.txt", 20000),
    "near": ("corpora/general/tinyshakespeare.txt", 0),
    "far": ("corpora/general/tinystories_2MB.txt", 0),
    "portuguese": ("corpora/art-history/ortigao-culto-da-arte-em-portugal.pg30456.pt.txt", 20000),
}


def train(arguments, work: Path, name: str, options: list, lr: float, seed: int) -> dict:
    out = work / f"{name.replace(' ', '-').replace('=', '')}-lr{lr:g}-seed{seed}"
    if not (out / "run.json").is_file() or not json.loads((out / "run.json").read_text()).get("finished"):
        run(arguments.lowrank, "finetune", arguments.model, "--data", work / "train.txt", "--out", out, "--seq-len", 256, "--batch-size", 4,
            "--epochs", 1, "--schedule", "constant", "--val-split", 0.05, "--eval-every", 40, "--save-every", 1000, "--lr", lr, "--seed", seed,
            "--quiet", "--overwrite", *options)
    return {"out": out, **json.loads((out / "run.json").read_text())}


def measure(arguments, work: Path, runs: dict) -> dict:
    data = [f"{name}={work / (name + '.txt')}" for name in SETS]
    compare = [f"{name}={run['out']}" for name, run in runs.items()]
    return run_json(arguments.lowrank, "evaluate", arguments.model, "--compare", *compare, "--data", *data, "--perturb", "typos:0.05",
                    "--seq-len", 256, "--json")["models"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--assets", type=Path, default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lrs", type=float, nargs="+", default=[3e-4, 1e-3, 3e-3, 1e-2, 3e-2])
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS))
    arguments = parser.parse_args()
    assets, work = Path(arguments.assets), arguments.out
    arguments.model = model_of(assets)
    work.mkdir(parents=True, exist_ok=True)
    vasari = (assets / "corpora/art-history/vasari-lives-vol01.pg25326.txt").read_text(encoding="utf-8")
    (work / "train.txt").write_text(vasari[:200000], encoding="utf-8")
    for name, (path, begin) in SETS.items():
        text = (assets / path).read_text(encoding="utf-8", errors="replace")
        (work / f"{name}.txt").write_text(text[begin:begin + 60000], encoding="utf-8")

    columns = [*SETS, "in-domain+typos:0.05"]
    table, base = {}, None
    for name in arguments.only:
        tried = {lr: train(arguments, work, name, METHODS[name], lr, 1) for lr in arguments.lrs}
        lr = min(tried, key=lambda rate: tried[rate]["result"]["best_loss"])
        runs = {str(seed): train(arguments, work, name, METHODS[name], lr, seed) for seed in range(1, arguments.seeds + 1)}
        models = measure(arguments, work, runs)
        base = models["base"]
        table[name] = {
            "lr": lr,
            "trainable": runs["1"]["totals"]["trainable_parameters"],
            "bytes": models["1"]["bytes"],
            "seconds": [run["totals"]["seconds"] for run in runs.values()],
            "perplexity": {c: [models[seed]["sets"][c]["perplexity"] for seed in runs] for c in columns},
            "kl": [models[seed]["sets"]["far"]["kl"] for seed in runs],
        }
        print(f"{name}: lr {lr:g}, in-domain {spread(table[name]['perplexity']['in-domain'], 2)}", flush=True)
    (work / "learning.json").write_text(json.dumps(table, indent=1))

    print("\n| method | lr | trainable | bytes | " + " | ".join(columns) + " | KL on far | seconds |")
    print("|---|---" + "|---" * (len(columns) + 4) + "|")
    print("| base | | 0 | | " + " | ".join(f"{base['sets'][c]['perplexity']:.2f}" for c in columns) + " | 0 | |")
    for name, row in table.items():
        cells = [name, f"{row['lr']:g}", f"{row['trainable']:,}", f"{row['bytes']:,}", *(spread(row["perplexity"][c], 2) for c in columns),
                 spread(row["kl"], 3), spread(row["seconds"], 0)]
        print("| " + " | ".join(cells) + " |")

    # Learns less and forgets less (Biderman et al. 2024): is the gain in the domain paid for outside it, method by method?
    pairs = [(math.log(statistics.mean(row["perplexity"]["in-domain"])), math.log(statistics.mean(row["perplexity"]["far"]))) for row in table.values()]
    if len(pairs) > 2:
        concordant = sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for i, a in enumerate(pairs) for b in pairs[:i])
        total = len(pairs) * (len(pairs) - 1) // 2
        print(f"\nof {total} pairs of methods the one that learns more also forgets more in {concordant}")


if __name__ == "__main__":
    main()
