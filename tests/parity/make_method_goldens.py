#!/usr/bin/env python3
"""Golden files of PEFT's adapter methods, on the tiny models that make_goldens.py makes (weights at std 0.2, B not zero).

    make_method_goldens.py [--out tests/goldens]

Writes OUT/methods/NAME/ for every case: case.json (model, config, settings, documents, the losses of five steps of AdamW),
golden.safetensors (logits and gradients at the start, logits after the steps), start/ (the adapter that PEFT saves before the
steps; not for pissa and olora, which begin from the weights), end/ (after them; of pissa and olora as the plain LoRA that
save_pretrained converts them to).
"whole" (on a model whose head is tied), "biases" and "lora-biases" train whole modules and biases beside A and B;
"embedding", "tied-embedding" and "tied-head" adapt the token embedding and the head; "tokens" and "tied-tokens" have single rows
of them, "tied-whole" one trained copy for both.
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from make_goldens import file_name, loss_sum, randomise_adapter

TARGETS = ["q_proj", "v_proj", "down_proj"]
CASES = {
    "dora": dict(model="qwen2", config=dict(use_dora=True)),
    "dora-plus": dict(model="llama", config=dict(use_dora=True, use_rslora=True), ratio=8.0, weight_decay=0.1),
    "plus": dict(model="llama", config={}, ratio=16.0, weight_decay=0.1),
    "pissa": dict(model="llama", config=dict(init_lora_weights="pissa")),
    "olora": dict(model="qwen2", config=dict(init_lora_weights="olora", use_rslora=True)),
    "whole": dict(model="qwen2", targets=["o_proj"],
                  config=dict(modules_to_save=["embed_tokens", "lm_head", "model.norm", "0.input_layernorm", "1.self_attn.k_proj"])),
    "biases": dict(model="qwen2", targets=["q_proj"], config=dict(bias="all", modules_to_save=["0.mlp.up_proj"])),
    "lora-biases": dict(model="qwen2", targets=["q_proj", "down_proj"], config=dict(bias="lora_only"), weight_decay=0.1),
    "embedding": dict(model="llama", targets=["q_proj", "embed_tokens", "lm_head"], config=dict(use_rslora=True)),
    "tied-embedding": dict(model="qwen2", targets=["q_proj", "embed_tokens"], config={}),
    "tied-head": dict(model="qwen2", targets=["q_proj", "lm_head"], config={}),
    "lora-bias": dict(model="qwen2", targets=["q_proj", "down_proj"], config=dict(lora_bias=True)),
    "dora-embedding": dict(model="llama", targets=["q_proj", "embed_tokens"], config=dict(use_dora=True)),
    "tokens": dict(model="llama", targets=["q_proj"], config=dict(trainable_token_indices={"embed_tokens": [9, 4, 17], "lm_head": [4, 30]})),
    "tied-tokens": dict(model="qwen2", targets=["q_proj"], config=dict(trainable_token_indices=[9, 4, 17])),
    "tied-whole": dict(model="qwen2", targets=["q_proj"], config=dict(modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
}
LR = 1e-3


def saved_name(parameter):
    """The name under which PEFT saves a parameter that is trained."""
    name = parameter.replace(".modules_to_save.default", "")
    name = name.replace("trainable_tokens_delta.default", "trainable_tokens_delta").replace("lora_B.default.bias", "lora_B.bias")
    if "lora_embedding_" in name or "lora_magnitude_vector" in name:
        return name.replace(".weight", "").replace(".default", "")
    return file_name(name)


def save(model, folder, **options):
    model.save_pretrained(folder, save_embedding_layers=False, **options)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def optimizer_for(model, case):
    settings = dict(lr=LR, betas=(0.9, 0.999), eps=1e-8)
    if "ratio" in case:
        return create_loraplus_optimizer(model, torch.optim.AdamW, loraplus_lr_ratio=case["ratio"],
                                         loraplus_weight_decay=case["weight_decay"], **settings)
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad],
                             weight_decay=case.get("weight_decay", 0.0), **settings)


def steps(model, case, documents):
    optimizer = optimizer_for(model, case)
    losses = []
    for step in range(5):
        batch = [documents[(2 * step + i) % len(documents)] for i in range(2)]
        optimizer.zero_grad()
        loss = sum(loss_sum(model, d) for d in batch) / sum(len(d) - 1 for d in batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def make_case(name, models, folder):
    case = CASES[name]
    splits = "init_lora_weights" in case["config"]
    seed = 5000 + list(CASES).index(name)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(models / case["model"], dtype=torch.float32, attn_implementation="eager").eval()
    vocabulary = base.config.vocab_size
    ids = torch.randint(3, vocabulary, (12,), generator=generator)
    documents = [torch.randint(3, vocabulary, (n,), generator=generator) for n in (23, 9, 31, 14)]

    targets = case.get("targets", TARGETS)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **case["config"])
    model = get_peft_model(base, config).eval()
    model.peft_config["default"].base_model_name_or_path = f"lowrank-goldens/{case['model']}"
    shutil.rmtree(folder, ignore_errors=True)
    if not splits:
        magnitudes = {n: p.detach().clone() for n, p in model.named_parameters() if "magnitude" in n}
        randomise_adapter(model, seed + 1)
        with torch.no_grad():  # trained copies that are no longer the base's
            for n, p in sorted(model.named_parameters()):
                if p.requires_grad and "lora_" not in n:
                    p.add_(0.1 * torch.randn(p.shape, generator=generator))
        with torch.no_grad():  # magnitudes of their own size, which the norms of the moved weights are not
            for n, p in model.named_parameters():
                if n in magnitudes:
                    p.copy_(magnitudes[n] * (1 + p))
        save(model, folder / "start")

    golden = {"ids": ids, "logits": model(input_ids=ids[None], use_cache=False).logits[0].detach().contiguous()}
    loss = loss_sum(model, documents[0])
    loss.backward()
    golden["loss"] = loss.detach().reshape(1)
    for n, p in model.named_parameters():
        if p.requires_grad and ("grad." + saved_name(n)) not in golden:
            golden["grad." + saved_name(n)] = p.grad.clone().contiguous()
            if splits:
                golden["start." + saved_name(n)] = p.detach().clone().contiguous()

    with tempfile.TemporaryDirectory() as scratch:
        initial = pathlib.Path(scratch) / "initial"
        if splits:  # as PEFT's documentation has it: the initial adapter is saved as one that leaves the base alone
            model.peft_config["default"].init_lora_weights = True
            model.save_pretrained(initial)
            model.peft_config["default"].init_lora_weights = case["config"]["init_lora_weights"]
        losses = steps(model, case, documents)
        golden["end_logits"] = model(input_ids=ids[None], use_cache=False).logits[0].detach().contiguous()
        save(model, folder / "end", **({"path_initial_model_for_weight_conversion": str(initial)} if splits else {}))
    save_file(golden, folder / "golden.safetensors")
    record = {"model": case["model"], "r": 4, "lora_alpha": 8, "targets": targets, "config": case["config"], "lr": LR,
              "ratio": case.get("ratio", 1.0), "weight_decay": case.get("weight_decay", 0.0),
              "documents": [d.tolist() for d in documents], "batch_size": 2, "losses": losses,
              "how": "betas 0.9 0.999, eps 1e-8, constant rate, no clipping; documents in order; losses before each update"}
    (folder / "case.json").write_text(json.dumps(record) + "\n")
    print(f"{name}: loss {losses[0]:.4f} -> {losses[-1]:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "goldens")
    parser.add_argument("--only", nargs="*", help="cases")
    arguments = parser.parse_args()
    out = arguments.out
    for name in arguments.only or CASES:
        make_case(name, out / "models", out / "methods" / name)


if __name__ == "__main__":
    main()
