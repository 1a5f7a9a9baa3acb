"""Image classification against transformers and peft, live: what `lowrank finetune --task image-classification` writes
gives the same loss and accuracy there as `lowrank evaluate` says. run.py calls it; by hand:

    image_parity.py --build build      (needs pillow)
"""

import json
import subprocess
import warnings

import numpy as np
import torch
from PIL import Image
from peft import PeftModel
from transformers import ResNetConfig, ResNetForImageClassification
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import live

PROCESSOR = {"size": {"height": 32, "width": 32}, "resample": 3, "image_mean": [0.4, 0.5, 0.6],
             "image_std": [0.3, 0.2, 0.25]}
LABELS = ["across", "chequer", "upright"]


def make_world(work):
    """Striped and chequered colour pictures, PNG and JPEG, and a random ResNet of two classes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:20]
    for label, stripes in zip(LABELS, (y // 4, x // 4 + y // 4, x // 4)):
        (work / "data" / label).mkdir(parents=True)
        for i in range(16):
            pixels = (stripes % 2 * 150)[:, :, None] + rng.integers(0, 90, (24, 20, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(work / "data" / label / f"{i:02}.{'png' if i % 2 else 'jpg'}")
    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(work / "model")
    config = {"image_processor_type": "ViTImageProcessor", **PROCESSOR}
    (work / "model" / "preprocessor_config.json").write_text(json.dumps(config))


def scores_there(model, work, labels):
    processor = ViTImageProcessorPil(**PROCESSOR)
    losses, hits = [], []
    for label in LABELS:
        for file in sorted((work / "data" / label).iterdir()):
            pixels = torch.from_numpy(np.asarray(processor(Image.open(file).convert("RGB"))["pixel_values"]))
            with torch.no_grad():
                logits = model(pixels.float().reshape(1, 3, 32, 32)).logits
            target = torch.tensor([labels.index(label)])
            losses.append(torch.nn.functional.cross_entropy(logits.double(), target).item())
            hits.append(logits.argmax().item() == target.item())
    return np.mean(losses), np.mean(hits)


def compare(lowrank, work, check):
    make_world(work)

    def run(*words):
        done = subprocess.run([str(lowrank), *map(str, words), "--task", "image-classification", "--data",
                               str(work / "data"), "--json"], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    for method, lr in {"lora": 3e-3, "full": 3e-3, "head": 3e-2}.items():  # a head alone, on a random network, needs more
        out = work / method
        run("finetune", work / "model", "--out", out, "--method", method, "--epochs", 5, "--lr", lr, "--batch-size", 12)
        here = run("evaluate", out)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
            if method == "lora":
                labels = json.loads((out / "labels.json").read_text())["labels"]
                base = ResNetForImageClassification.from_pretrained(work / "model", num_labels=len(labels),
                                                                    ignore_mismatched_sizes=True)
                model = PeftModel.from_pretrained(base, out).eval()
            else:
                model = ResNetForImageClassification.from_pretrained(out).eval()
                labels = [model.config.id2label[i] for i in range(len(LABELS))]
        check(f"images, {method}: there is a loss to compare", here["loss"] > 1e-3, here["loss"])
        loss, accuracy = scores_there(model, work, labels)
        check(f"images, {method}: transformers gives the same loss", abs(loss - here["loss"]) < 1e-4, abs(loss - here["loss"]))
        check(f"images, {method}: and accuracy", accuracy == here["accuracy"], accuracy - here["accuracy"])
        check(f"images, {method}: which is above chance", accuracy > 0.5, accuracy)


if __name__ == "__main__":
    live.main(__doc__, lambda arguments, work, check: compare(arguments.build / "bin" / "lowrank", work, check), needs_assets=False)
