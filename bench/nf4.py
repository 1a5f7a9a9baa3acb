#!/usr/bin/env python3
"""What a base in codes costs in what is learned, and what it saves in memory.

    python bench/nf4.py [--lowrank build/bin/lowrank] [--steps 200] [--shape-steps 20] [--no-peft]

Learning: the assets' stories260K on TinyStories, and the random 135M shape of bench.py on its corpus, each with the base
as stored in fp32, in int8 and in NF4, with the same seed; the final validation losses beside each other.
Memory (VmHWM): the 135M shape, fp32, 2 x 512 tokens, rank 16 on all linear layers, 2 steps: PEFT on the base as stored,
lowrank with --base-dtype nf4 --recompute layer.
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from bench import ROOT, make_model, run_lowrank, run_peft


def final_losses(command: str, model: Path, data: Path, form: str, steps: int, extra: list) -> dict:
    with tempfile.TemporaryDirectory() as out:
        subprocess.run([command, "finetune", str(model), "--data", str(data), "--out", out + "/run", "--dtype", "float32",
                        "--base-dtype", form, "--max-steps", str(steps), "--samples", "0", "--quiet", *extra], check=True)
        result = json.loads((Path(out) / "run/run.json").read_text())["result"]
    before, after = ({row["split"]: row["loss"] for row in result[key]} for key in ("before", "after"))
    return {"before": before["validation"], "after": after["validation"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(ROOT / "build/bin/lowrank"))
    parser.add_argument("--assets", default=str(ROOT / "../shared/assets"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--shape-steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peft", action="store_true")
    arguments = parser.parse_args()
    assets = Path(arguments.assets)
    with tempfile.TemporaryDirectory(prefix="lowrank-nf4-") as name:
        shape = Path(name)
        make_model(shape, "float32", "135M")
        stories = assets / "models/stories260K-hf"
        text = shape / "stories.txt"
        text.write_text((assets / "corpora/general/tinystories_2MB.txt").read_text()[:400_000])
        runs = [("stories260K", stories, text, arguments.steps, ["--seq-len", "128", "--batch-size", "8", "--lr", "1e-3"]),
                ("135M shape", shape, shape / "corpus.txt", arguments.shape_steps,
                 ["--seq-len", "128", "--batch-size", "2", "--lr", "1e-3", "--eval-every", str(arguments.shape_steps)])]
        for what, model, data, steps, extra in runs:
            if steps == 0:
                continue
            losses = {form: final_losses(arguments.lowrank, model, data, form, steps, extra) for form in ("auto", "int8", "nf4")}
            reference = losses["auto"]["after"]
            for form, loss in losses.items():
                print(f"{what:12} {steps:4} steps {form:5} validation {loss['before']:.4f} -> {loss['after']:.4f} "
                      f"({loss['after'] / reference - 1:+.2%})", flush=True)
        ours = run_lowrank(arguments.lowrank, shape, "float32", 2, 0, arguments.threads, ["--base-dtype", "nf4", "--recompute", "layer", "--samples", "0"])
        print(f"135M, 2 x 512, nf4 with --recompute layer: {ours['peak'] / 1e9:.2f} GB", flush=True)
        if not arguments.no_peft:
            peft = run_peft(shape, "float32", 2, 0, arguments.threads)
            print(f"PEFT, fp32: {peft['peak'] / 1e9:.2f} GB; ratio {ours['peak'] / peft['peak']:.2f}")


if __name__ == "__main__":
    main()
