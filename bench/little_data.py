#!/usr/bin/env python3
"""Twenty documents: stories260K taught by 20 paragraphs of Vasari, with finetune's defaults and with --preset few-shot.

    python bench/little_data.py --lowrank build/bin/lowrank --assets DIR --out DIR [--seeds 3]

Each seed draws other paragraphs (600 to 1,600 characters, of the first 300,000 of the book). Test: characters 400,000 to 440,000, and
TinyStories for what is forgotten. Also three times the learning rate for both, since it is the first thing one would change.
"""
import argparse
import json
import os
import random
from pathlib import Path

from bench_common import model_of, run, run_json, spread, vasari

WAYS = {
    "defaults": [],
    "--preset few-shot": ["--preset", "few-shot"],
    "defaults, lr 1e-3": ["--lr", "1e-3"],
    "--preset few-shot, lr 1e-3": ["--preset", "few-shot", "--lr", "1e-3"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--assets", type=Path, default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    assets, out = Path(arguments.assets), arguments.out
    model = model_of(assets)
    out.mkdir(parents=True, exist_ok=True)
    text = vasari(assets)
    paragraphs = [" ".join(p.split()) for p in text[:300000].split("\n\n")]
    paragraphs = [p for p in paragraphs if 600 <= len(p) <= 1600]
    (out / "domain.txt").write_text(text[400000:440000], encoding="utf-8")
    (out / "general.txt").write_text((assets / "corpora/general/tinystories_2MB.txt").read_text(encoding="utf-8")[:60000], encoding="utf-8")

    results = {name: {"domain": [], "general": [], "steps": []} for name in WAYS}
    for seed in range(1, arguments.seeds + 1):
        drawn = random.Random(seed).sample(paragraphs, 20)
        data = out / f"twenty-{seed}.jsonl"
        data.write_text("".join(json.dumps({"text": p}) + "\n" for p in drawn), encoding="utf-8")
        runs = {}
        for name, options in WAYS.items():
            folder = out / f"{''.join(c for c in name if c.isalnum() or c == '-')}-{seed}"
            run(arguments.lowrank, "finetune", model, "--data", data, "--out", folder, "--seq-len", 512, "--seed", seed, "--resume", "--quiet", *options)
            runs[name] = folder
            results[name]["steps"].append(json.loads((folder / "run.json").read_text())["result"]["best_step"])
        short = {f"m{i}": folder for i, folder in enumerate(runs.values())}
        models = run_json(arguments.lowrank, "evaluate", model, "--compare", *(f"{k}={v}" for k, v in short.items()), "--data",
                          f"domain={out / 'domain.txt'}", f"general={out / 'general.txt'}", "--seq-len", 512, "--json")["models"]
        for i, name in enumerate(WAYS):
            for part in ("domain", "general"):
                results[name][part].append(models[f"m{i}"]["sets"][part]["perplexity"])
    base = models["base"]["sets"]
    print("| | domain perplexity | TinyStories | best step |\n|---|---|---|---|")
    print(f"| base | {base['domain']['perplexity']:.2f} | {base['general']['perplexity']:.2f} | 0 |")
    for name, row in results.items():
        print(f"| {name} | {spread(row['domain'], 2)} | {spread(row['general'], 2)} | {'/'.join(str(s) for s in row['steps'])} |")


if __name__ == "__main__":
    main()
