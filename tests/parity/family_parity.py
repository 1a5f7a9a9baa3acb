#!/usr/bin/env python3
"""Every family against transformers and peft, live: a random model of each case of make_goldens.py with another seed and a
real tokenizer; its logits in one pass, packed among others and token by token through the cache, an adapter's gradients, an
adapter that `lowrank finetune` trains read by PEFT, one that PEFT makes read here, and what `lowrank merge` makes of the
model read by transformers. docs/compatibility.md is its table.

    family_parity.py --build build --assets DIR [--only CASE ...] [--document docs/compatibility.md]
"""
import copy
import json
import pathlib
import shutil
import subprocess
import sys

import torch
import transformers
from peft import LoraConfig, get_peft_model
import peft as peft_package

import live
import make_goldens
import peft_adapter_parity as peft

HERE = pathlib.Path(__file__).resolve().parent
TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
TOLERANCE = 1e-4
COLUMNS = ["forward", "packed", "gradient", "cache", "PEFT in", "PEFT out", "merge"]


def make_model(name, vocabulary, tokenizer, folder):
    (model_class, config), _, _ = make_goldens.CASES[name]
    config = copy.deepcopy(config)
    config.get_text_config().vocab_size = vocabulary
    if hasattr(config.get_text_config(), "vocab_size_per_layer_input"):
        config.get_text_config().vocab_size_per_layer_input = vocabulary
    config._attn_implementation = "eager"
    model = model_class(config).float().eval()
    make_goldens.randomise(model, 77)
    model.save_pretrained(folder)
    for file in TOKENIZER:
        if (tokenizer / file).exists():
            shutil.copy(tokenizer / file, folder / file)
    return config


def make_adapter(name, model, config, out):
    """Saves an adapter of PEFT's, and gives its model."""
    targets = {"target_modules": make_goldens.targets_of(config)}
    mixtures = make_goldens.mixture_cases
    targets = mixtures.CASE_TARGETS.get(name) or mixtures.FAMILY_TARGETS.get(config.model_type, targets)
    lora = LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=5, fan_in_fan_out=config.model_type == "gpt2", **targets)
    adapted = get_peft_model(peft.load_base(model), lora)
    make_goldens.randomise_adapter(adapted, 78)
    adapted.save_pretrained(out)
    return adapted.eval()


def run_model(build, model, adapter, sequences, how="alone"):
    text = "\n".join(json.dumps(ids) for ids in sequences) + "\n"
    done = subprocess.run([build / "tests" / "model_logits", model, adapter, how], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"parity: {done.stderr}")
    return [torch.tensor(json.loads(line)) for line in done.stdout.splitlines()] if how != "gradients" else json.loads(done.stdout)


def difference(left, right):
    """The largest |left - right| over lists of tensors."""
    return max((a - torch.as_tensor(b)).abs().max().item() for a, b in zip(left, right, strict=True))


def gradient_error(ours, model, sequences):
    """Of the mean loss over all predicted tokens: the largest distance, of each tensor's largest."""
    losses = [make_goldens.loss_sum(model, torch.tensor(ids)) for ids in sequences]
    (sum(losses) / sum(len(ids) - 1 for ids in sequences)).backward()
    worst = 0.0
    theirs = {make_goldens.file_name(name): p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert theirs.keys() == ours.keys(), "the same parameters have gradients"
    for name, gradient in theirs.items():
        worst = max(worst, (torch.tensor(ours[name]) - gradient.flatten()).abs().max().item() / gradient.abs().max().item())
    return worst


def cached_logits(model, sequences, alone):
    """What transformers' generation sees, where that is not what one pass gives."""
    if make_goldens.by_length(peft.load_config(model)) is None:
        return alone
    loaded = peft.load_base(model)
    with torch.no_grad():
        return [torch.stack(make_goldens.stepwise_logits(loaded, torch.tensor(ids))) for ids in sequences]


def compare_case(name, build, tokenizer, text, work, check):
    """The figures of one case, and its model_type."""
    vocabulary = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    # From short to long: a dynamic rotation of transformers remembers the longest text.
    sequences = [[1] + [(7 * i * i + 13 * i + s) % (vocabulary - 3) + 3 for i in range(12 + 25 * s)] for s in range(3)]
    model, trained, merged, theirs, older = (work / f"family-{name}{what}" for what in ("", "-trained", "-merged", "-peft", "-older"))
    config = make_model(name, vocabulary, tokenizer, model)
    figures = {}

    def hold(column, what, error, bound=TOLERANCE):
        figures[column] = error
        check(f"{name}: {what}", error <= bound, error)

    reference = peft.logits(model, "-", sequences)
    base = run_model(build, model, "-", sequences)
    hold("forward", "the same logits as transformers", difference(base, reference))
    hold("packed", "the same in one packed batch", difference(run_model(build, model, "-", sequences, "packed"), reference))
    cached = run_model(build, model, "-", sequences, "cache")
    hold("cache", "the same token by token through the cache", difference(cached, cached_logits(model, sequences, reference)))

    subprocess.run([build / "bin" / "lowrank", "finetune", model, "--data", text, "--out", trained, "--seq-len", "20",
                    "--max-steps", "10", "--lr", "1e-2", "--rank", "4", "--val-split", "0", "--quiet"], check=True)
    adapted = run_model(build, model, trained, sequences)
    moved = difference(base, adapted)
    check(f"{name}: 10 steps move the logits by at least 0.1", moved >= 0.1, moved)
    hold("PEFT out", "PEFT gives the same logits with that adapter, without a warning",
         difference(adapted, peft.logits(model, trained, sequences)))

    if config.model_type in ("qwen3_moe", "mixtral"):
        subprocess.run([build / "bin" / "lowrank", "export", trained, "--format", "peft-by-expert", "--out", older], check=True)
        error = difference(adapted, peft.logits(model, older, sequences))
        check(f"{name}: PEFT gives the same logits with a pair for each expert", error <= TOLERANCE, error)

    adapted_theirs = make_adapter(name, model, config, theirs)
    hold("PEFT in", "the same logits here with an adapter that PEFT made",
         difference(run_model(build, model, theirs, sequences), peft.logits(model, theirs, sequences)))
    hold("gradient", "the same gradients of that adapter",
         gradient_error(run_model(build, model, theirs, sequences, "gradients"), adapted_theirs, sequences))

    subprocess.run([build / "bin" / "lowrank", "merge", model, "--adapter", trained, "--out", merged, "--quiet"], check=True)
    hold("merge", "transformers gives the same logits with the merged model", difference(adapted, peft.logits(merged, "-", sequences)))
    for folder in (model, trained, merged, theirs, older):
        shutil.rmtree(folder, ignore_errors=folder == older)
    return config.model_type, figures


def write_document(figures, document):
    versions = ", ".join(f"{module.__name__} {module.__version__}" for module in (transformers, peft_package))
    lines = ["# Compatibility", "",
             f"Written by `make parity` (`tests/parity/family_parity.py`), which compares random models of every family with {versions} and "
             f"torch {torch.__version__.split('+')[0]}, in fp32 on the CPU. Each cell is the largest distance found over the family's cases.", "",
             "- *forward*, *packed*, *cache*: logits, of a text alone, in one batch with others, and token by token through the cache;",
             "- *gradient*: of an adapter on every linear layer, packed, as a share of each tensor's largest;",
             "- *PEFT in*, *PEFT out*: logits with an adapter that PEFT made, here, and with one that `lowrank finetune` made, in PEFT;",
             "- *merge*: logits of what `lowrank merge` made, in transformers.", "",
             "| model_type | cases | " + " | ".join(COLUMNS) + " |", "|---|---|" + "---|" * len(COLUMNS)]
    for family in sorted(figures):
        cases = figures[family]
        worst = [max(case[column] for case in cases) for column in COLUMNS]
        lines.append(f"| {family} | {len(cases)} | " + " | ".join(f"{error:.0e}" for error in worst) + " |")
    document.write_text("\n".join(lines) + "\n")


def compare(build, assets, work, check, only=None, document=None):
    """check(what, holds, figure) is run.py's."""
    tokenizer = assets / "models" / "stories260K-hf"
    text = work / "family-text.txt"
    text.write_text((assets / "corpora" / "general" / "tinystories_2MB.txt").read_text(encoding="utf-8")[:4000], encoding="utf-8")
    figures = {}
    for name in only or make_goldens.CASES:
        family, found = compare_case(name, build, tokenizer, text, work, check)
        figures.setdefault(family, []).append(found)
    if document is not None:
        write_document(figures, document)


if __name__ == "__main__":
    live.main(__doc__, lambda arguments, work, check: compare(arguments.build, arguments.assets, work, check, arguments.only, arguments.document),
              document=None)
