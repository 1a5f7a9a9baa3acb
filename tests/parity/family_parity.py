"""Every family against transformers and peft, live: a random model of each case of make_goldens.py with another seed and a
real tokenizer, its logits, an adapter that `lowrank finetune` trains read by PEFT, one that PEFT makes read here, and what
`lowrank merge` makes of the model read by transformers."""
import copy
import json
import shutil
import subprocess

from peft import LoraConfig, get_peft_model

import make_goldens
import peft_adapter_parity as peft

TOKENIZER = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]


def make_model(name, vocabulary, tokenizer, folder):
    (model_class, config), _, _ = make_goldens.CASES[name]
    config = copy.deepcopy(config)
    config.vocab_size = vocabulary
    config._attn_implementation = "eager"
    model = model_class(config).float().eval()
    make_goldens.randomise(model, 77)
    model.save_pretrained(folder)
    for file in TOKENIZER:
        if (tokenizer / file).exists():
            shutil.copy(tokenizer / file, folder / file)
    return config.model_type


def make_adapter(model, family, out):
    targets = make_goldens.FAMILY_LINEARS.get(family, make_goldens.LINEARS)
    config = LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=5, target_modules=targets, fan_in_fan_out=family == "gpt2")
    adapted = get_peft_model(peft.load_base(model), config)
    make_goldens.randomise_adapter(adapted, 78)
    adapted.save_pretrained(out)


def compare(build, assets, work, ours, difference, check):
    """ours(build, model, adapter, sequences), difference(left, right) and check(what, holds, figure) are run.py's."""
    tokenizer = assets / "models" / "stories260K-hf"
    vocabulary = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    text = work / "family-text.txt"
    text.write_text((assets / "corpora" / "general" / "tinystories_2MB.txt").read_text(encoding="utf-8")[:4000], encoding="utf-8")
    # From short to long: a dynamic rotation of transformers remembers the longest text.
    sequences = [[1] + [(7 * i * i + 13 * i + s) % (vocabulary - 3) + 3 for i in range(12 + 25 * s)] for s in range(3)]
    tolerance = 1e-4
    for name in make_goldens.CASES:
        model = work / f"family-{name}"
        family = make_model(name, vocabulary, tokenizer, model)
        base = ours(build, model, "-", sequences)
        error = difference(base, peft.logits(model, "-", sequences))
        check(f"{name}: the same logits as transformers", error <= tolerance, error)

        trained, merged, theirs = (work / f"family-{name}-{what}" for what in ("trained", "merged", "peft"))
        subprocess.run([build / "bin" / "lowrank", "finetune", model, "--data", text, "--out", trained, "--seq-len", "20",
                        "--max-steps", "10", "--lr", "1e-2", "--rank", "4", "--val-split", "0", "--quiet"], check=True)
        adapted = ours(build, model, trained, sequences)
        moved = difference(base, adapted)
        check(f"{name}: 10 steps move the logits by at least 0.1", moved >= 0.1, moved)
        error = difference(adapted, peft.logits(model, trained, sequences))
        check(f"{name}: PEFT gives the same logits with that adapter, without a warning", error <= tolerance, error)

        make_adapter(model, family, theirs)
        error = difference(ours(build, model, theirs, sequences), peft.logits(model, theirs, sequences))
        check(f"{name}: the same logits here with an adapter that PEFT made", error <= tolerance, error)

        subprocess.run([build / "bin" / "lowrank", "merge", model, "--adapter", trained, "--out", merged, "--quiet"], check=True)
        error = difference(adapted, peft.logits(merged, "-", sequences))
        check(f"{name}: transformers gives the same logits with the merged model", error <= tolerance, error)
