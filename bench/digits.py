"""A small ResNet, trained here on scikit-learn's digits, adapted to rotated and to inverted ones.

    OMP_NUM_THREADS=1 python3 bench/digits.py --lowrank build/bin/lowrank --work /tmp/digits --seeds 3

The 1,797 digits (8 x 8) are made into 32 x 32 gray PNGs, a third of each class kept apart for testing. A ResNet of random
weights is trained on the upright ones (--method full), then adapted to the same digits turned by 90 degrees and to
their negatives, by a low-rank adapter on every convolution with the classifier (--method lora), by every weight (full),
and by the classifier alone (head). Printed: accuracy on the new task's test pictures and on the upright ones ("kept"),
trained parameters, bytes of what was trained; mean and sample standard deviation over the seeds, as a markdown table.
Needs scikit-learn, pillow, torch and transformers (the random start is save_pretrained's).
"""

import argparse
import json
import pathlib
import statistics
import subprocess

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

CONFIG = dict(num_channels=1, embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic")
PROCESSOR = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 32, "width": 32},
             "resample": 2, "image_mean": [0.3], "image_std": [0.35]}
TASKS = {"upright": lambda x: x, "rotated": lambda x: np.rot90(x), "inverted": lambda x: 255 - x}
METHODS = {"lora r=2": ["--method", "lora", "--rank", "2", "--lr", "5e-3"],
           "lora r=8": ["--method", "lora", "--rank", "8", "--lr", "5e-3"],
           "full": ["--method", "full", "--lr", "2e-3"],
           "head": ["--method", "head", "--lr", "2e-2"]}


def write_pictures(folder):
    digits = load_digits()
    seen = {}
    for i, (pixels, label) in enumerate(zip(digits.images, digits.target)):
        seen[label] = seen.get(label, 0) + 1
        part = "test" if seen[label] % 3 == 0 else "train"
        for task, turn in TASKS.items():
            path = folder / task / part / str(label)
            path.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(turn(np.round(pixels * 255 / 16).astype(np.uint8)))
            picture.resize((32, 32), Image.Resampling.BICUBIC).save(path / f"{i:04}.png")


def write_start(folder, seed):
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification
    torch.manual_seed(seed)
    names = {i: str(i) for i in range(10)}
    config = ResNetConfig(**CONFIG, id2label=names, label2id={name: i for i, name in names.items()})
    ResNetForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lowrank", default="build/bin/lowrank")
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5, help="of adapting; the base is trained twice as long")
    arguments = parser.parse_args()
    work = arguments.work
    write_pictures(work)

    def lowrank(*words):
        done = subprocess.run([arguments.lowrank, *map(str, words), "--task", "image-classification", "--json"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"lowrank {' '.join(map(str, words))}: {done.stderr}")
        return json.loads(done.stdout)

    def finetune(model, task, out, seed, options):
        return lowrank("finetune", model, "--data", work / task / "train", "--out", out, "--seed", seed, "--overwrite",
                       "--batch-size", 32, "--val-split", 0.1, *options)

    def accuracies(model):
        found = lowrank("evaluate", model, "--data", *(f"{task}={work / task / 'test'}" for task in TASKS))
        return {task: found["sets"][task]["accuracy"] for task in TASKS}

    rows = {}
    for seed in range(1, arguments.seeds + 1):
        start, base = work / f"start-{seed}", work / f"base-{seed}"
        write_start(start, seed)
        run = finetune(start, "upright", base, seed, ["--method", "full", "--lr", "3e-3", "--epochs", 2 * arguments.epochs])
        found = accuracies(base)
        for task in ("rotated", "inverted"):
            rows.setdefault((task, "base, as it is"), []).append((found[task], found["upright"], 0, 0, 0))
        for task in ("rotated", "inverted"):
            for method, options in METHODS.items():
                out = work / f"{task}-{method.replace(' ', '-')}-{seed}"
                run = finetune(base, task, out, seed, [*options, "--epochs", arguments.epochs])
                found, totals = accuracies(out), run["totals"]
                trained = 4 * totals["trainable_parameters"] if method == "head" else totals["adapter_bytes"]
                rows.setdefault((task, method), []).append(
                    (found[task], found["upright"], totals["trainable_parameters"], trained, totals["seconds"]))
                print(f"seed {seed} {task} {method}: {found}", flush=True)

    def percent(values):
        spread = statistics.stdev(values) if len(values) > 1 else 0
        return f"{100 * statistics.mean(values):.1f} ± {100 * spread:.1f} %"

    print("\n| new task | method | accuracy, new task | accuracy kept, upright | trained parameters | bytes | seconds |")
    print("|---|---|---|---|---|---|---|")
    for (task, method), found in rows.items():
        new, kept, parameters, size, seconds = zip(*found)
        print(f"| {task} | {method} | {percent(new)} | {percent(kept)} | {parameters[0]:,} | {size[0]:,} | "
              f"{statistics.mean(seconds):.1f} |")


if __name__ == "__main__":
    main()
