"""PEFT as the oracle for adapters: logits of a model with an adapter, and adapters that PEFT itself makes.

    peft_adapter_parity.py logits MODEL ADAPTER IDS.json OUT.json [--dtype float32]
    peft_adapter_parity.py make MODEL OUT [--seed 0] [--targets REGEX]

Every warning that loading raises is an error here: an adapter that "loads with a warning" does nothing, or other than it
was trained to do. `logits` reads a JSON list of token ids (or of such lists) and writes {"logits": [[...]]} of the last
list's shape; ADAPTER may be "-" for the base alone.
"""

import argparse
import json
import pathlib
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

RICH_TARGETS = r"model\.layers\.\d*[02468]\.(self_attn\.(q|k|o)_proj|mlp\.(gate|down)_proj)"


def load_config(model):
    return AutoConfig.from_pretrained(model)


def load_base(model, dtype="float32"):
    # As the files spell it: a model of text and pictures may have a class for its text alone, whose names are others.
    pictures = any(name.endswith("ForConditionalGeneration") for name in load_config(model).architectures)
    kind = AutoModelForImageTextToText if pictures else AutoModelForCausalLM
    return kind.from_pretrained(model, dtype=getattr(torch, dtype)).eval()


def load_adapted(model, adapter, dtype="float32"):
    """The model with the adapter; any warning while the adapter is loaded is raised."""
    base = load_base(model, dtype)
    if str(adapter) == "-":
        return base
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Between the two libraries themselves, whatever the adapter: peft 0.21 asks transformers 5 by an old name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        # Said of every adapter on a tied embedding or head; that it loads as it was trained is what is looked at.
        warnings.filterwarnings("ignore", message=".*tie_word_embeddings=True.*")
        # Said of every pattern on a parameter, of PEFT's own adapters too: peft 0.21 looks for it among modules alone.
        warnings.filterwarnings("ignore", message=r".*_pattern keys did not match any targeted module.*(\.gate_up_proj'|down_proj\)'|w2\)')\]")
        return PeftModel.from_pretrained(base, adapter).eval()


def logits(model, adapter, ids, dtype="float32"):
    """fp32 logits [tokens][vocabulary] of one list of ids, or a list of such for a list of lists."""
    loaded = load_adapted(model, adapter, dtype)
    nested = bool(ids) and isinstance(ids[0], list)
    result = []
    with torch.no_grad():
        for sequence in ids if nested else [ids]:
            result.append(loaded(torch.tensor([sequence])).logits[0].float().tolist())
    return result if nested else result[0]


def make_adapter(model, out, seed=0, targets=RICH_TARGETS, rank=4, alpha=6):
    """An adapter with rsLoRA, a rank and an alpha pattern, regex targets, and B far from zero."""
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, lora_dropout=0.05, use_rslora=True, target_modules=targets,
        rank_pattern={"k_proj": 2, r"layers\.2\.mlp\.gate_proj": 6}, alpha_pattern={"self_attn.o_proj": 12},
    )
    adapted = get_peft_model(load_base(model), config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.2)
    adapted.save_pretrained(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("logits")
    run.add_argument("model")
    run.add_argument("adapter")
    run.add_argument("ids", type=pathlib.Path)
    run.add_argument("out", type=pathlib.Path)
    run.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float64"])
    make = commands.add_parser("make")
    make.add_argument("model")
    make.add_argument("out")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--targets", default=RICH_TARGETS)
    arguments = parser.parse_args()
    if arguments.command == "make":
        make_adapter(arguments.model, arguments.out, arguments.seed, arguments.targets)
    else:
        ids = json.loads(arguments.ids.read_text())
        values = logits(arguments.model, arguments.adapter, ids, arguments.dtype)
        arguments.out.write_text(json.dumps({"logits": values}) + "\n")


if __name__ == "__main__":
    main()
