#!/usr/bin/env python3
"""Golden files of tests/train/dpo.cpp from TRL's own DPOTrainer (pip install trl; 1.16 made the committed ones).

On the tiny Llama of tests/goldens/models/llama with its PEFT adapter (B != 0), six random pairs: the reference is the
adapter switched off. For each loss, under tests/goldens/train/dpo/:

    pairs.json        ids and masks of every side; of each loss: its value and TRL's metrics, beta
    <loss>.safetensors   d(loss)/d(adapter) under PEFT's names
    experts.json, experts.safetensors   the same of the sigmoid loss with models/qwen3-moe, the routers' load-balancing loss
                      beside it (router_aux_loss_coef)
    cut/              a BPE tokenizer whose merges reach over the end of some prompts, and how DPOTrainer cuts pairs of text with it

    python3 tests/parity/make_dpo_goldens.py [--out tests/goldens]
"""
import argparse
import json
import pathlib
import tempfile

import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models
from trl import DPOConfig, DPOTrainer

HERE = pathlib.Path(__file__).resolve().parent
BETA = {"sigmoid": 0.1, "hinge": 0.05, "ipo": 0.1}
METRICS = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"]


ROUTER_LOSS = 0.3  # a weight at which it shows in every gradient


def random_pairs(seed, n, vocabulary=128):
    """[(prompt, chosen, rejected)] of token ids; answers end in 2, BOS is 1."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda low, high: int(torch.randint(low, high, (1,), generator=g))
    ids = lambda k: torch.randint(3, vocabulary, (k,), generator=g).tolist()
    return [([1] + ids(draw(2, 9)), ids(draw(1, 14)) + [2], ids(draw(1, 14)) + [2]) for _ in range(n)]


def batch(pairs):
    """TRL's collated batch: the chosen sides first, padded at the right."""
    rows = [(p, c) for p, c, _ in pairs] + [(p, r) for p, _, r in pairs]
    longest = max(len(p) + len(a) for p, a in rows)
    pad = lambda values: values + [0] * (longest - len(values))
    return {
        "input_ids": torch.tensor([pad(p + a) for p, a in rows]),
        "attention_mask": torch.tensor([pad([1] * (len(p) + len(a))) for p, a in rows]),
        "completion_mask": torch.tensor([pad([0] * len(p) + [1] * len(a)) for p, a in rows]),
    }


def tokenizer():
    words = {f"t{i}": i for i in range(128)}
    fast = Tokenizer(models.WordLevel(words, unk_token="t3"))
    return PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="t1", eos_token="t2", pad_token="t0", unk_token="t3")


def measure(folder, pairs, loss, work, router_loss=None):
    base = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True)
    args = DPOConfig(output_dir=work, loss_type=[loss], beta=BETA[loss], report_to=[], use_cpu=True, bf16=False,
                     gradient_checkpointing=False, disable_dropout=True, router_aux_loss_coef=router_loss)
    rows = Dataset.from_list([{"prompt": "t4", "chosen": "t5", "rejected": "t6"}])
    trainer = DPOTrainer(model=model, args=args, train_dataset=rows, processing_class=tokenizer())
    inputs = batch(pairs)
    with torch.no_grad(), model.disable_adapter():
        labels = inputs["input_ids"][:, 1:]
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1]
        picked = logits.log_softmax(-1).gather(2, labels[..., None])[..., 0] * inputs["completion_mask"][:, 1:]
        inputs["ref_chosen_logps"], inputs["ref_rejected_logps"] = picked.sum(1).chunk(2)
    trainer.precompute_ref_logps = True
    trainer.model.train()
    value = trainer.compute_loss(trainer.model, inputs)
    value.backward()
    metrics = {name: float(trainer._metrics["train"][name][-1]) for name in METRICS}
    if router_loss:
        metrics["router_aux_loss"] = float(trainer._metrics["train"]["aux_loss"][-1])
    gradients = {name.replace(".default", ""): p.grad.clone() for name, p in model.named_parameters()
                 if ".lora_" in name and ".default." in name}
    return float(value.detach()), metrics, gradients


TEXTS = [("ab", "cd", "dd"), ("ab", "dd", "cd"), ("ba", "bc", "bd"), ("aab", "cab", "cba"), ("abc", "d", "a"), ("da", "b", "c")]


def cut_golden(folder, target, work):
    """TEXTS through DPOTrainer's own preparation: letters, and the tokens bc, ab, abc."""
    words = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4, "c": 5, "d": 6, "bc": 7, "ab": 8, "abc": 9}
    fast = Tokenizer(models.BPE(words, [("b", "c"), ("a", "bc"), ("a", "b")], unk_token="<unk>"))
    fast.add_special_tokens(["<unk>", "<s>", "</s>"])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=fast, bos_token="<s>", eos_token="</s>", pad_token="</s>",
                                      unk_token="<unk>")
    wrapped.save_pretrained(target)
    base = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    model = PeftModel.from_pretrained(base, folder / "adapter", is_trainable=True)
    args = DPOConfig(output_dir=work, report_to=[], use_cpu=True, bf16=False)
    rows = Dataset.from_list([{"prompt": p, "chosen": c, "rejected": r} for p, c, r in TEXTS])
    prepared = DPOTrainer(model=model, args=args, train_dataset=rows, processing_class=wrapped).train_dataset
    keys = ["prompt_ids", "chosen_ids", "rejected_ids"]
    pairs = [{"prompt": p, "chosen": c, "rejected": r, **{k: prepared[i][k] for k in keys}}
             for i, (p, c, r) in enumerate(TEXTS)]
    (target / "cut.json").write_text(json.dumps({"pairs": pairs}) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "goldens")
    out = parser.parse_args().out
    folder, target = out / "models" / "llama", out / "train" / "dpo"
    target.mkdir(parents=True, exist_ok=True)
    pairs = random_pairs(7, 6)
    golden = {"pairs": [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in pairs], "losses": {}}
    with tempfile.TemporaryDirectory() as work:
        cut_golden(folder, target / "cut", work)
        for loss in BETA:
            value, metrics, gradients = measure(folder, pairs, loss, work)
            golden["losses"][loss] = {"beta": BETA[loss], "loss": value, "metrics": metrics}
            save_file(gradients, target / f"{loss}.safetensors")
        experts = random_pairs(8, 6, 80)
        value, metrics, gradients = measure(out / "models" / "qwen3-moe", experts, "sigmoid", work, ROUTER_LOSS)
        save_file(gradients, target / "experts.safetensors")
    (target / "pairs.json").write_text(json.dumps(golden) + "\n")
    (target / "experts.json").write_text(json.dumps({
        "pairs": [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in experts], "loss": value, "metrics": metrics,
        "beta": BETA["sigmoid"], "router_aux_loss": ROUTER_LOSS}) + "\n")


if __name__ == "__main__":
    main()
