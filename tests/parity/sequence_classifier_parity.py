"""transformers and PEFT as the oracle for classifiers: a folder that `lowrank finetune --task classification` wrote, read as
their users read it, and one that PEFT made.

`judge` gives the mean cross-entropy and the predictions of a file of {"text", "label"} rows; every warning that loading the
adapter raises is an error, but for those of the two libraries between themselves.
"""
import json
import pathlib
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification


def base_for(model, labels):
    base = AutoModelForSequenceClassification.from_pretrained(model, num_labels=labels, dtype=torch.float32)
    base.config.pad_token_id = 0
    return base


def judge(model, adapter, rows, labels):
    """(mean cross-entropy, predicted numbers); `labels`: names in their order."""
    base = base_for(model, len(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        loaded = PeftModel.from_pretrained(base, adapter).eval()
    # Not AutoTokenizer: transformers 5 builds Llama's anew, and a text that begins with a space then loses it, against both
    # tokenizer.json and tokenizer.model.
    tokenizer = Tokenizer.from_file(str(pathlib.Path(model) / "tokenizer.json"))
    total, predicted = 0.0, []
    with torch.no_grad():
        for row in map(json.loads, pathlib.Path(rows).read_text(encoding="utf-8").splitlines()):
            logits = loaded(input_ids=torch.tensor([tokenizer.encode(row["text"]).ids])).logits[0]
            total -= float(logits.log_softmax(-1)[labels.index(row["label"])])
            predicted.append(int(logits.argmax()))
    return total / len(predicted), predicted


def make(model, out, labels, seed=0):
    """A classifier as PEFT's users make it, B and score far from zero."""
    torch.manual_seed(seed)
    adapted = get_peft_model(base_for(model, labels), LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.copy_(0.1 * torch.randn_like(parameter))
    adapted.save_pretrained(out)
