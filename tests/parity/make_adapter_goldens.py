"""Writes tests/goldens/lora: what PEFT itself does, for the tests of lora/ (which then need no Python).

    python3 tests/parity/make_adapter_goldens.py [--out tests/goldens/lora]

matching.json   what peft's check_target_module_exists, get_pattern_key and LoraConfig say for a table of configs
adapter-*/      adapters that save_pretrained wrote for one random tiny Llama (hidden 16, 3 layers)
slot.json       for each adapter: input and output of one adapted layer, and its scaling
"""

import argparse
import json
import pathlib
import shutil
import warnings

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import _ExcludedModule, check_target_module_exists
from peft.utils.other import get_pattern_key
from transformers import LlamaConfig, LlamaForCausalLM

MODULES = [
    f"model.layers.{i}.{m}"
    for i in range(3)
    for m in (
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj",
    )
] + ["lm_head"]
NESTED = [
    "transformer.h.0.attn.c_attn", "transformer.h.1.attn.c_attn", "transformer.h.1.mlp.c_proj",
    "model.layers.1.experts.0.up", "model.layers.1.experts.2.up", "model.layers.2.experts.1.up", "layers.1.up",
    "2.up", "head.up", "up",
]
LLAMA, OTHER = "llama", "nested"
NAMES = {LLAMA: MODULES, OTHER: NESTED}


def configs():
    """(names, keyword arguments of LoraConfig)"""
    yield LLAMA, dict(target_modules=["q_proj"])
    yield LLAMA, dict(target_modules=["q_proj", "v_proj", "no_such"])
    yield LLAMA, dict(target_modules=["proj"])
    yield LLAMA, dict(target_modules=["self_attn.q_proj"])
    yield LLAMA, dict(target_modules=["attn.q_proj"])
    yield LLAMA, dict(target_modules=["model.layers.1.mlp.up_proj", "lm_head"])
    yield LLAMA, dict(target_modules=["layers.1.mlp.up_proj"])
    yield LLAMA, dict(target_modules=["q_proj", "k_proj"], layers_to_transform=[1])
    yield LLAMA, dict(target_modules=["q_proj"], layers_to_transform=2)
    yield LLAMA, dict(target_modules=["q_proj"], layers_to_transform=[])
    yield LLAMA, dict(target_modules=["q_proj"], layers_to_transform=[0, 2], layers_pattern="layers")
    yield LLAMA, dict(target_modules=["q_proj"], layers_to_transform=[0, 2], layers_pattern=["h", "layers"])
    yield LLAMA, dict(target_modules=["q_proj"], layers_to_transform=[0, 2], layers_pattern="h")
    yield LLAMA, dict(target_modules=["q_proj"], layers_to_transform=[0], layers_pattern=r"lay\w+")
    yield LLAMA, dict(target_modules=["model.layers.1.mlp.up_proj", "q_proj"], layers_to_transform=[0])
    yield LLAMA, dict(target_modules=["lm_head", "q_proj"], layers_to_transform=[0])
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], exclude_modules=["v_proj"])
    yield LLAMA, dict(target_modules=["q_proj"], exclude_modules=["model.layers.0.self_attn.q_proj"])
    yield LLAMA, dict(target_modules=["q_proj"], exclude_modules=["layers.1.self_attn.q_proj"])
    yield LLAMA, dict(target_modules=["q_proj", "up_proj"], exclude_modules=r".*\.(0|2)\..*")
    yield LLAMA, dict(target_modules=r".*\.q_proj")
    yield LLAMA, dict(target_modules=r"q_proj")
    yield LLAMA, dict(target_modules=r".*(q|v)_proj")
    yield LLAMA, dict(target_modules=r".*(q|v)")
    yield LLAMA, dict(target_modules=r"model\.layers\.[01]\.self_attn\.(?:k|o)_proj")
    yield LLAMA, dict(target_modules=r"model.layers.\d+.mlp.*")
    yield LLAMA, dict(target_modules=r"(?!.*mlp).*_proj$")
    yield LLAMA, dict(target_modules=r"(?i).*Q_PROJ")
    yield LLAMA, dict(target_modules=r"lm_head|.*\.1\.mlp\.up_proj")
    yield LLAMA, dict(target_modules=r".*\.(?P<n>[02])\.self_attn\.(q|k)_proj")
    yield LLAMA, dict(target_modules=r".*_proj", exclude_modules=["mlp.up_proj", "o_proj"])
    yield LLAMA, dict(target_modules=r"\Amodel\..*\Z")
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 2})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={"layers.1.self_attn.v_proj": 2, "v_proj": 3})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={"v_proj": 3, "layers.1.self_attn.v_proj": 2})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={r"layers\.[12]\..*": 5, "q_proj": 3})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={"proj": 5, "_proj": 6, ".*_proj": 7})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={"model.layers.0.self_attn.q_proj": 9})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={"^model.layers.0.self_attn.q_proj": 9})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], rank_pattern={"self.attn.q_proj": 9, "q|v_proj": 4})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"],
                      alpha_pattern={"v_proj": 3, "layers.0.self_attn.q_proj": 2.5})
    yield LLAMA, dict(target_modules=["q_proj", "v_proj"], alpha_pattern={".*q.*": 3}, rank_pattern={"q_proj": 9},
                      use_rslora=True)
    yield OTHER, dict(target_modules=["c_attn"], layers_to_transform=[1])
    yield OTHER, dict(target_modules=["c_attn", "c_proj"], layers_to_transform=[1], layers_pattern="h")
    yield OTHER, dict(target_modules=["up"], layers_to_transform=[1])
    yield OTHER, dict(target_modules=["up"], layers_to_transform=[2])
    yield OTHER, dict(target_modules=["up"], layers_to_transform=[1], layers_pattern="experts")
    yield OTHER, dict(target_modules=["up"], layers_to_transform=[1], layers_pattern="layers")
    yield OTHER, dict(target_modules=["up"])
    yield OTHER, dict(target_modules=["up"], exclude_modules=["up"])


def matching():
    rows = []
    for names, arguments in configs():
        config = LoraConfig(r=8, lora_alpha=16, **arguments)
        hits = []
        for name in NAMES[names]:
            found = check_target_module_exists(config, name)
            if not found or isinstance(found, _ExcludedModule):
                continue
            rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), name), config.r)
            alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), name), config.lora_alpha)
            hits.append({"module": name, "r": rank, "alpha": alpha,
                         "scale": alpha / (rank**0.5 if config.use_rslora else rank)})
        rows.append({"names": names, "config": arguments, "hits": hits})
    return {"names": NAMES, "rows": rows}


ADAPTERS = {
    "plain": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"]),
    "rich": dict(r=4, lora_alpha=6, lora_dropout=0.05, use_rslora=True,
                 target_modules=r"model\.layers\.[02]\.(self_attn\.(q|k|o)_proj|mlp\.gate_proj)",
                 rank_pattern={"k_proj": 2, r"layers\.2\.mlp\.gate_proj": 6}, alpha_pattern={"self_attn.o_proj": 12}),
    "layers": dict(r=2, lora_alpha=2, target_modules=["up_proj", "v_proj"], layers_to_transform=[1, 2],
                   exclude_modules=["model.layers.2.mlp.up_proj"]),
}


def adapters(out):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=3,
                         num_attention_heads=4, num_key_value_heads=2)
    slots = {}
    for name, arguments in ADAPTERS.items():
        model = LlamaForCausalLM(config)
        model.name_or_path = "tiny/llama"
        model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **arguments))
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if "lora_B" in parameter_name:
                    parameter.normal_(0, 0.5)
        folder = out / f"adapter-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        # A set was saved in no particular order.
        path = folder / "adapter_config.json"
        saved = json.loads(path.read_text())
        if isinstance(saved["target_modules"], list):
            saved["target_modules"].sort()
        path.write_text(json.dumps(saved, indent=2, sort_keys=True))
        model.eval()
        layers = [(n, m) for n, m in model.base_model.model.named_modules() if hasattr(m, "lora_A")]
        rows = []
        for layer_name, layer in (layers[0], layers[-1]):
            x = torch.randn(3, layer.in_features)
            with torch.no_grad():
                y = layer(x)
            rows.append({"path": layer_name, "x": x.tolist(), "weight": layer.base_layer.weight.tolist(),
                         "y": y.tolist(), "scale": layer.scaling["default"]})
        slots[name] = {"modules": [n for n, _ in layers], "layers": rows}
    return slots


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "lora")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    (out / "matching.json").write_text(json.dumps(matching(), indent=1) + "\n")
    (out / "slot.json").write_text(json.dumps(adapters(out)) + "\n")


if __name__ == "__main__":
    main()
