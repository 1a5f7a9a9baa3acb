#!/usr/bin/env python3
"""Is a sweep worth it? 30 trials of TPE and 30 at random on stories260K and Vasari, against finetune's defaults.

    python bench/search.py --lowrank build/bin/lowrank --assets DIR --out DIR [--seeds 3] [--trials 30]

Each trial learns the first 100,000 characters of Vasari's Lives for one epoch and is chosen by the loss on a tenth of them; the best,
and the run with the defaults, are then measured on characters 400,000 to 440,000, which took no part. The differences are those of
`evaluate --compare` on the merged models: perplexity against the other model's, 95 % of the paired resamples.
"""
import argparse
import json
import os
import shutil
from pathlib import Path

from bench_common import model_of, run, run_json, spread, vasari

SPACE = """lr: {log: [1e-4, 3e-2]}
rank: {choice: [1, 4, 16, 32]}
dropout: {uniform: [0, 0.3]}
l2: {log: [1e-3, 1]}
schedule: {choice: [cosine, linear, constant]}
init: {choice: [default, orthogonal, pissa], when: {rank: [4, 16, 32]}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--assets", type=Path, default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=30)
    arguments = parser.parse_args()
    model, out = model_of(Path(arguments.assets)), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    text = vasari(Path(arguments.assets))
    (out / "train.txt").write_text(text[:100000], encoding="utf-8")
    (out / "test.txt").write_text(text[400000:440000], encoding="utf-8")
    (out / "space.yaml").write_text(SPACE)

    rows = {"defaults": [], "random": [], "tpe": []}
    against = {"tpe against defaults": [], "random against defaults": [], "tpe against random": []}
    for seed in range(1, arguments.seeds + 1):
        common = [model, "--data", out / "train.txt", "--val-split", 0.1, "--seq-len", 256, "--epochs", 1, "--seed", seed, "--quiet"]
        work = out / f"seed{seed}"
        adapters = {"defaults": work / "defaults"}
        run(arguments.lowrank, "finetune", *common, "--out", work / "defaults", "--resume")
        for sampler in ("random", "tpe"):
            run(arguments.lowrank, "sweep", out / "space.yaml", *common, "--out", work / sampler, "--trials", arguments.trials, "--sampler", sampler, "--resume")
            trials = [json.loads(line) for line in (work / sampler / "trials.jsonl").read_text().splitlines()]
            best = min((t for t in trials if t["state"] == "complete"), key=lambda t: t["value"])
            print(f"seed {seed}, {sampler}: trial {best['trial']}, validation {best['value']:.4f}, {best['options']}", flush=True)
            adapters[sampler] = next(iter(sorted((work / sampler / "trials").glob(f"*{best['trial']}"), key=lambda p: len(p.name))))
        for name, adapter in adapters.items():
            shutil.rmtree(work / f"merged-{name}", ignore_errors=True)
            run(arguments.lowrank, "merge", adapter, "--out", work / f"merged-{name}", "--quiet")

        def compare(first: str, others: list) -> dict:
            return run_json(arguments.lowrank, "evaluate", work / f"merged-{first}", "--compare", *(f"{o}={work / f'merged-{o}'}" for o in others),
                            "--data", f"test={out / 'test.txt'}", "--seq-len", 256, "--json")["models"]

        to_defaults, to_random = compare("defaults", ["random", "tpe"]), compare("random", ["tpe"])
        rows["defaults"].append(to_defaults["base"]["sets"]["test"]["perplexity"])
        for name in ("random", "tpe"):
            rows[name].append(to_defaults[name]["sets"]["test"]["perplexity"])
            against[f"{name} against defaults"].append(to_defaults[name]["sets"]["test"]["against_base"])
        against["tpe against random"].append(to_random["tpe"]["sets"]["test"]["against_base"])

    print("\n| | test perplexity |\n|---|---|")
    for name, values in rows.items():
        print(f"| {name} | {spread(values, 2)} |")
    print("\n| nats a token, seed by seed | difference (95 %) |\n|---|---|")
    for name, values in against.items():
        print(f"| {name} | " + "; ".join(f"{v['nll']:+.4f} ({v['ci'][0]:+.4f} to {v['ci'][1]:+.4f})" for v in values) + " |")


if __name__ == "__main__":
    main()
