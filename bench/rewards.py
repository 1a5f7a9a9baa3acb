#!/usr/bin/env python3
"""PPO on stories260K: by a rule (how many different animals a continuation names), and by a reward model trained on pairs.

    python bench/rewards.py --lowrank build/bin/lowrank --assets DIR --out DIR [--seeds 3]

The reward model never sees the rule: it learns from pairs of real stories of which the one with more animals is the chosen one. Both ways
are measured with the rule itself, on continuations of held-out beginnings (temperature 1), with the reward that was trained on, and
with the KL of a continuation from the base, in nats (of the last two rollouts).
"""
import argparse
import json
import os
import random
import re
import statistics
from pathlib import Path

from bench_common import model_of, run, spread

ANIMALS = ("dog cat bird fish bear rabbit frog mouse duck lion fox cow horse pig sheep monkey elephant bunny turtle squirrel owl bee butterfly puppy "
           "kitten").split()


def animals(text: str) -> int:
    return len(set(re.findall(r"[a-z]+", text.lower())) & set(ANIMALS))


def sampled(arguments, work: Path, adapter) -> list:
    """Continuations of the held-out beginnings."""
    out = work / ("base.jsonl" if adapter is None else "answers.jsonl")
    run(arguments.lowrank, "generate", arguments.model, *(["--adapter", adapter] if adapter else []), "--input", arguments.out / "held-out.jsonl", "--output", out,
        "--temperature", 1, "--max-new-tokens", 48, "--seed", 7, "--overwrite", "--quiet")
    return [json.loads(line) for line in out.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--assets", type=Path, default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=320)
    arguments = parser.parse_args()
    assets, out = Path(arguments.assets), arguments.out
    arguments.model = model_of(assets)
    out.mkdir(parents=True, exist_ok=True)
    stories = [s.strip() for s in (assets / "corpora/general/tinystories_2MB.txt").read_text(encoding="utf-8").replace("<|endoftext|>", "\n\n").split("\n\n")]
    stories = [s.split() for s in stories if len(s) > 300]
    random.Random(0).shuffle(stories)
    beginnings = list(dict.fromkeys(" ".join(s[:8]) for s in stories[:500]))
    (out / "prompts.txt").write_text("\n".join(beginnings[100:]) + "\n", encoding="utf-8")
    (out / "held-out.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in beginnings[:100]), encoding="utf-8")
    (out / "animals.txt").write_text("\n".join(ANIMALS) + "\n")
    pairs = []
    rest = stories[500:]
    for a, b in zip(rest[::2], rest[1::2]):
        sides = [" " + " ".join(a[8:48]), " " + " ".join(b[8:48])]
        if animals(sides[0]) == animals(sides[1]):
            continue
        sides.sort(key=animals)
        pairs.append({"prompt": " ".join(a[:8]), "chosen": sides[1], "rejected": sides[0]})
    for name, part in {"pairs": pairs[100:], "pairs-held-out": pairs[:100]}.items():
        (out / f"{name}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in part), encoding="utf-8")
    print(f"{len(pairs) - 100} pairs, {len(beginnings) - 100} prompts")

    rows = {"rule": {"animals": [], "kl": [], "reward": []}, "trained reward": {"animals": [], "kl": [], "reward": []}}
    accuracies = []
    base = statistics.mean(animals(a["generated"]) for a in sampled(arguments, out, None))
    for seed in range(1, arguments.seeds + 1):
        reward = out / f"reward-{seed}"
        run(arguments.lowrank, "align", "reward", arguments.model, "--data", out / "pairs.jsonl", "--val-data", out / "pairs-held-out.jsonl", "--out", reward, "--lr", "3e-3",
            "--epochs", 3, "--batch-size", 8, "--seed", seed, "--resume", "--quiet")
        result = json.loads((reward / "run.json").read_text())["result"]
        accuracies.append(next(r for r in result["after"] if r["split"] == "validation")["metrics"]["accuracy"])
        for name, what in {"rule": f"words:{out / 'animals.txt'}", "trained reward": f"adapter:{reward}"}.items():
            folder = out / f"ppo-{name.split()[0]}-{seed}"
            run(arguments.lowrank, "align", "ppo", arguments.model, "--data", out / "prompts.txt", "--reward", what, "--target-kl", 15, "--kl-horizon", 100, "--response-length", 48,
                "--lr", "5e-4", "--schedule", "constant", "--max-steps", arguments.steps, "--batch-size", 32, "--val-split", 0, "--seed", seed,
                "--resume", "--quiet", "--out", folder)
            steps = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines() if "objective/scores" in line]
            first, last = (statistics.mean(s["objective/scores"] for s in part) for part in (steps[:8], steps[-16:]))
            answers = sampled(arguments, folder, folder)
            rows[name]["animals"].append(statistics.mean(animals(a["generated"]) for a in answers))
            rows[name]["kl"].append(statistics.mean(s["objective/kl"] for s in steps[-16:]))
            rows[name]["reward"].append(last - first)
            if seed == 1:
                for answer in answers[:2]:
                    print(f"{name}: {answer['prompt']} |{answer['generated']}", flush=True)
    print(f"\nreward model: accuracy on 100 held-out pairs {spread([100 * a for a in accuracies], 1)} %")
    print("\n| | animals a continuation | gain of its own reward | KL, nats a continuation |\n|---|---|---|---|")
    print(f"| base | {base:.2f} | | 0 |")
    for name, row in rows.items():
        print(f"| PPO, {name} | {spread(row['animals'], 2)} | {spread(row['reward'], 2)} | {spread(row['kl'], 1)} |")


if __name__ == "__main__":
    main()
