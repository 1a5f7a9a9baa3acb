"""Writes tests/goldens/models/resnet-*: tiny random ResNets of transformers, with logits, and adapters of PEFT on them.

    python3 tests/parity/make_resnet_goldens.py [--out tests/goldens/models]

resnet-NAME/            config.json and model.safetensors as save_pretrained writes them
resnet-NAME/expected.safetensors   pixels, logits, and (with the adapter) adapted
resnet-NAME/adapter/    a LoRA on every convolution, the classifier saved whole
"""

import argparse
import json
import pathlib
import shutil
import warnings

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import ResNetConfig, ResNetForImageClassification

MODELS = {
    "basic": dict(embedding_size=4, hidden_sizes=[6, 8], depths=[2, 1], layer_type="basic", num_channels=1,
                  downsample_in_first_stage=True, id2label={0: "cat", 1: "dog", 2: "newt"}),
    "bottleneck": dict(embedding_size=4, hidden_sizes=[8, 12], depths=[1, 2], layer_type="bottleneck",
                       downsample_in_bottleneck=True, id2label={0: "no", 1: "yes"}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "models")
    out = parser.parse_args().out
    warnings.simplefilter("ignore")
    for name, arguments in MODELS.items():
        torch.manual_seed(5)
        labels = arguments["id2label"]
        config = ResNetConfig(**arguments, label2id={label: i for i, label in labels.items()})
        model = ResNetForImageClassification(config).eval()
        with torch.no_grad():
            for key, tensor in model.state_dict().items():
                if "normalization" in key and tensor.is_floating_point():
                    tensor.uniform_(0.5, 1.5) if "weight" in key or "var" in key else tensor.normal_(0, 0.2)
        folder = out / f"resnet-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        pixels = torch.randn(3, config.num_channels, 33, 30)
        found = {"pixels": pixels}
        with torch.no_grad():
            found["logits"] = model(pixels).logits
            adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=["convolution"],
                                                       modules_to_save=["classifier"])).eval()
            for key, parameter in adapted.named_parameters():
                if "lora_" in key:
                    parameter.normal_(0, 0.2)
                elif "modules_to_save" in key:
                    parameter.add_(0.1)
            found["adapted"] = adapted(pixels).logits
        adapted.save_pretrained(folder / "adapter")
        (folder / "adapter" / "README.md").unlink(missing_ok=True)
        path = folder / "adapter" / "adapter_config.json"
        saved = json.loads(path.read_text())
        saved["base_model_name_or_path"] = "tiny/resnet"
        path.write_text(json.dumps(saved, indent=2, sort_keys=True))
        save_file(found, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
