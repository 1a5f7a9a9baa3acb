#!/usr/bin/env python3
"""`--lr auto` against six fixed rates: the validation loss at the end, for each corpus and model.

    python bench/lr_auto.py [--lowrank build/bin/lowrank] [--steps 200] [--seeds 42]

Corpora: a book (Vasari), GSM8K, WikiSQL. Models: the assets' stories260K as it is, and in bfloat16. The loss is that of the last
evaluation, not of the best one, on the whole validation set, with the same data, split and seed for every rate. Exits with 1
where the automatic rate is more than 2 % worse than the best of the six.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
CORPORA = {"vasari": "corpora/art-history/vasari-lives-vol01.pg25326.txt", "gsm8k": "instruct/gsm8k/train.jsonl",
           "wikisql": "instruct/mlx-wikisql"}
MODELS = ("stories260K-hf", "stories260K-hf-bf16")
BOUND = 0.02


def final_loss(command: str, model: Path, data: Path, rate, steps: int, seed: int, extra: list) -> tuple:
    with tempfile.TemporaryDirectory(prefix="lowrank-lr-") as name:
        out = Path(name) / "run"
        subprocess.run([command, "finetune", str(model), "--data", str(data), "--out", str(out), "--lr", str(rate), "--seed", str(seed),
                        "--max-steps", str(steps), "--seq-len", "512", "--batch-size", "8", "--eval-every", str(steps),
                        "--eval-budget", "1", "--samples", "0", "--quiet", *extra], check=True)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        last = [row["eval_loss"] for row in rows if row.get("split") == "validation" and row["step"] == steps][-1]
        return last, json.loads((out / "run.json").read_text(encoding="utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(ROOT / "build/bin/lowrank"))
    parser.add_argument("--assets", default=str(ROOT / "../shared/assets"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("extra", nargs="*", help="further options of finetune, after --")
    arguments = parser.parse_args()
    assets = Path(arguments.assets)
    worst = 0.0
    for model in arguments.models:
        for corpus in arguments.corpora:
            for seed in arguments.seeds:
                def run(rate):
                    return final_loss(arguments.lowrank, assets / "models" / model, assets / CORPORA[corpus], rate, arguments.steps, seed,
                                      arguments.extra)
                losses = {rate: run(rate)[0] for rate in RATES}
                best = min(losses, key=losses.get)
                loss, record = run("auto")
                over = loss / losses[best] - 1
                worst = max(worst, over)
                print(f"{model:20} {corpus:8} seed {seed:3} " + " ".join(f"{rate:g}:{value:.4f}" for rate, value in losses.items()) +
                      f"  auto {record['result']['lr']:g}: {loss:.4f} ({over:+.2%} of the best, {best:g})", flush=True)
    print(f"worst: {worst:+.2%}")
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
