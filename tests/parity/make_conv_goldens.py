"""Writes tests/goldens/lora/conv*: what PEFT does with convolutions and with a CNN that has attention.

    python3 tests/parity/make_conv_goldens.py [--out tests/goldens/lora]

conv.json, conv.safetensors   adapted convolutions: input, weights, output, gradients of sum(output * upstream), merged weight.
                              Only where PEFT is right: no dilation, zeros as padding; merged only without groups.
conv-network/                 an adapter that save_pretrained wrote for the network of tests/lora/inject_test.cpp, and in
                              base.safetensors that network's weights, an input, its logits, and the gradients of A and B
"""

import argparse
import json
import pathlib
import shutil
import warnings

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import nn

CASES = {
    "plain": dict(dims=2, channels=3, out=4, kernel=[3, 3], stride=[1, 1], padding=[1, 1], groups=1, bias=True),
    "strided": dict(dims=2, channels=2, out=3, kernel=[3, 2], stride=[2, 1], padding=[0, 1], groups=1, bias=False),
    "point": dict(dims=2, channels=4, out=3, kernel=[1, 1], stride=[2, 2], padding=[0, 0], groups=1, bias=True),
    "groups": dict(dims=2, channels=4, out=6, kernel=[3, 3], stride=[1, 1], padding=[1, 1], groups=2, bias=True),
    "line": dict(dims=1, channels=3, out=5, kernel=[4], stride=[2], padding=[1], groups=1, bias=True),
    "line-point": dict(dims=1, channels=3, out=2, kernel=[1], stride=[1], padding=[0], groups=1, bias=True),
    "line-groups": dict(dims=1, channels=4, out=4, kernel=[3], stride=[1], padding=[2], groups=4, bias=False),
}


class One(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = conv

    def forward(self, x):
        return self.conv(x)


class Network(nn.Module):
    """Its twin is in tests/lora/inject_test.cpp."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.mix = nn.Conv1d(8, 8, 3, padding=1)
        self.place = nn.Embedding(16, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        h = torch.relu(self.deep(torch.relu(self.stem(x))))
        h = self.mix(nn.functional.max_pool2d(h, 2).flatten(2)).permute(2, 0, 1)
        h = h + self.place(torch.arange(16))[:, None, :]
        return self.head((h + self.attention(h, h, h)[0]).mean(0))


def randomise(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0, 0.3)


def conv_cases():
    settings, tensors = {}, {}
    for name, case in CASES.items():
        torch.manual_seed(len(name))
        make = nn.Conv2d if case["dims"] == 2 else nn.Conv1d
        conv = make(case["channels"], case["out"], tuple(case["kernel"]), tuple(case["stride"]), tuple(case["padding"]),
                    groups=case["groups"], bias=case["bias"])
        rank, rslora = 4, name == "strided"
        model = get_peft_model(One(conv), LoraConfig(r=rank, lora_alpha=6, use_rslora=rslora, target_modules=["conv"]))
        randomise(model)
        layer = model.base_model.model.conv
        x = torch.randn(3, case["channels"], *([7, 6][: case["dims"]]), requires_grad=True)
        y = model(x)
        upstream = torch.randn_like(y)
        (y * upstream).sum().backward()
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        found = dict(x=x, weight=conv.weight, a=a, b=b, y=y, upstream=upstream, dx=x.grad, da=a.grad, db=b.grad)
        if case["bias"]:
            found["bias"] = conv.bias
        if case["groups"] == 1:
            found["merged"] = conv.weight + layer.get_delta_weight("default")
        tensors |= {f"{name}.{key}": value.detach().clone().contiguous() for key, value in found.items()}
        settings[name] = case | dict(r=rank, alpha=6, rslora=rslora)
    return settings, tensors


def network(folder):
    torch.manual_seed(3)
    base = Network()
    with torch.no_grad():
        base.attention.in_proj_bias.normal_(0, 0.2)
        base.attention.out_proj.bias.normal_(0, 0.2)
    tensors = {f"base.{name}": value.clone() for name, value in base.state_dict().items()}
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["stem", "deep", "mix", "place", "attention"],
                        modules_to_save=["head"], rank_pattern={"mix": 2})
    model = get_peft_model(base, config)
    randomise(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "modules_to_save" in name:
                parameter.add_(0.1)
    # PEFT 0.21 adds the out_proj's delta twice (MultiheadAttention.merge composes its weight and then merges it again);
    # the golden is of W + s B A. unmerge() then finds nothing to take off again, and says so.
    model.base_model.model.attention.base_layer.out_proj.merge = lambda adapter_names: None
    x = torch.randn(2, 1, 8, 8)
    y = model(x)
    upstream = torch.randn_like(y)
    (y * upstream).sum().backward()
    tensors |= {"x": x, "y": y.detach(), "upstream": upstream}
    saved = get_peft_model_state_dict(model)
    for key in saved:
        plain = key.removeprefix("base_model.model.")
        for parameter_name, parameter in model.named_parameters():
            short = parameter_name.removeprefix("base_model.model.").replace(".modules_to_save.default", "")
            if short.replace(".default", "") == plain:
                tensors[f"grad.{key}"] = parameter.grad.clone()
    assert sum(name.startswith("grad.") for name in tensors) == len(saved)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "base.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "lora")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    settings, tensors = conv_cases()
    (out / "conv.json").write_text(json.dumps(settings, indent=1) + "\n")
    save_file(tensors, out / "conv.safetensors")
    network(out / "conv-network")


if __name__ == "__main__":
    main()
