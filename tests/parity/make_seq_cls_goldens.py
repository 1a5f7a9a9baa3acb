#!/usr/bin/env python3
"""Golden files of tests/train/classification.cpp and reward_model.cpp from transformers' LlamaForSequenceClassification and
PEFT.

On the tiny Llama of tests/goldens/models/llama, in fp32, LoRA with B != 0 and a random score head. Under
tests/goldens/train/seq_cls/:

    adapter/, reward/          what PEFT's save_pretrained wrote: three labels; one
    golden.json                texts and pairs as ids; logits, losses, rewards
    classification.safetensors d(mean cross-entropy)/d(LoRA and score) under PEFT's names
    smoothed.safetensors       the same with label_smoothing 0.1
    reward.safetensors         d(mean loss of TRL's RewardTrainer with center_rewards_coefficient 0.01), by its formula

    python3 tests/parity/make_seq_cls_goldens.py [--out tests/goldens]
"""
import argparse
import json
import pathlib

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import AutoModelForSequenceClassification

HERE = pathlib.Path(__file__).resolve().parent
CENTER = 0.01


def classifier(folder, labels, seed):
    """The adapted model, and nothing in it zero."""
    torch.manual_seed(seed)
    base = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels, attn_implementation="eager")
    base.config.pad_token_id = 0
    config = LoraConfig(task_type="SEQ_CLS", r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"])
    model = get_peft_model(base, config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    return model.eval()


def draw(seed, n, low, high):
    """`n` texts of token ids without padding's 0; BOS is 1."""
    g = torch.Generator().manual_seed(seed)
    number = lambda a, b: int(torch.randint(a, b, (1,), generator=g))
    return [[1] + torch.randint(3, 128, (number(low, high),), generator=g).tolist() for _ in range(n)]


def logits(model, texts):
    """One padded batch, as transformers' users give it."""
    longest = max(map(len, texts))
    ids = torch.tensor([t + [0] * (longest - len(t)) for t in texts])
    mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in texts])
    return model(input_ids=ids, attention_mask=mask).logits


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    name = lambda n: n.replace(".default", "").replace(".modules_to_save", "")
    return {name(n): p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def save_adapter(model, folder):
    model.peft_config["default"].base_model_name_or_path = "tiny/llama"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "goldens")
    out = parser.parse_args().out
    folder, target = out / "models" / "llama", out / "train" / "seq_cls"
    target.mkdir(parents=True, exist_ok=True)

    model = classifier(folder, 3, 1)
    texts, labels = draw(2, 7, 1, 15), [0, 1, 2, 2, 1, 0, 2]
    golden = {"texts": texts, "labels": labels, "logits": logits(model, texts).tolist()}
    for name, smoothing in [("classification", 0.0), ("smoothed", 0.1)]:
        loss = cross_entropy(logits(model, texts), torch.tensor(labels), label_smoothing=smoothing)
        golden[name] = float(loss.detach())
        save_file(gradients(model, loss), target / f"{name}.safetensors")
    save_adapter(model, target / "adapter")

    model = classifier(folder, 1, 3)
    prompts, chosen, rejected = draw(4, 5, 1, 7), draw(5, 5, 1, 9), draw(6, 5, 1, 9)
    pairs = [(p, c[1:] + [2], r[1:] + [2]) for p, c, r in zip(prompts, chosen, rejected)]
    rewards = logits(model, [p + c for p, c, _ in pairs] + [p + r for p, _, r in pairs])[:, 0]
    up, down = rewards.chunk(2)
    loss = -logsigmoid(up - down).mean() + CENTER * torch.mean((up + down) ** 2)
    golden["reward"] = {"pairs": [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in pairs], "center": CENTER,
                        "chosen": up.tolist(), "rejected": down.tolist(), "loss": float(loss.detach())}
    save_file(gradients(model, loss), target / "reward.safetensors")
    save_adapter(model, target / "reward")
    (target / "golden.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
