#!/usr/bin/env python3
"""Golden files of tests/train/ppo.cpp: one PPO update in torch and PEFT, by the formulas of TRL 0.21's PPOTrainer.train
(trl/trainer/ppo_trainer.py, steps 3 to 6 and the inner loop; masked_mean, masked_var and masked_whiten of trl/core.py) on
padded tensors as it has them, INVALID_LOGPROB and all: a mini-batch of three accumulated micro-batches, each a mean over its
own tokens. Entropy, ratio and approxkl leave padding out, where TRL's means count it. (Later versions of TRL have no
PPOTrainer.)

On the tiny Llama of tests/goldens/models/llama: the policy is its PEFT adapter, the value model a second adapter and a
random head. Under tests/goldens/train/ppo/:

    value/               the value adapter, as PEFT saves it
    ppo_state.json       a rollout of six answers, as a checkpoint holds it: old log-probabilities and values (moved away
                         from the present ones, so that ratios and clips matter), rewards, returns, advantages
    update.json          options; losses, clip fractions, entropy and ratios before and after one step of AdamW
    gradients.safetensors  d(loss)/d(parameter) of the first; "score": the head

    python3 tests/parity/make_ppo_goldens.py [--out tests/goldens]
"""
import argparse
import json
import pathlib
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
INVALID_LOGPROB = 1.0
LENGTH = 9  # of an answer at most
EOS, PAD = 2, 0
OPTIONS = dict(kl_coef=0.07, gamma=0.98, lam=0.93, cliprange=0.2, cliprange_value=0.15, vf_coef=0.3, whiten_rewards=True,
               missing_eos_penalty=0.5, lr=1e-2)
# The micro-batches of two in both passes, in lowrank's order: core::RandomStream(42, "ppo order").permutation(6, pass).
MICRO = [[[1, 4], [0, 5], [3, 2]], [[1, 4], [2, 5], [3, 0]]]


def masked_mean(values, mask):
    return (values * mask).sum() / mask.sum()


def masked_whiten(values, mask, shift_mean=True):
    mean = masked_mean(values, mask)
    variance = masked_mean((values - mean) ** 2, mask) * mask.sum() / (mask.sum() - 1)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return whitened if shift_mean else whitened + mean


def answers(seed):
    """[(prompt, response)]: some end early, one at the greatest length, some not at all."""
    g = torch.Generator().manual_seed(seed)
    ids = lambda k: torch.randint(3, 128, (k,), generator=g).tolist()
    lengths = [(4, 3, True), (6, LENGTH, False), (2, LENGTH - 1, True), (5, 0, True), (3, LENGTH, False), (7, 6, True)]
    return [([1] + ids(p), ids(n) + ([EOS] if ended else [])) for p, n, ended in lengths]


def padded(rows, value=0.0):
    return torch.tensor([list(row) + [value] * (LENGTH - len(row)) for row in rows])


def advantages_of(logprobs, reference, values, scores, responses):
    """Steps 3 to 6 of PPOTrainer.train on [B, LENGTH] tensors."""
    postprocessed = torch.tensor([r + [PAD] * (LENGTH - len(r)) for r in responses])
    scores = scores.clone()
    scores[~(postprocessed == EOS).any(-1)] -= OPTIONS["missing_eos_penalty"]
    lengths = torch.tensor([len(r) for r in responses]) - 1
    index = torch.arange(LENGTH).repeat(len(responses), 1)
    mask, mask_p1 = index > lengths[:, None], index > (lengths + 1)[:, None]
    logprobs = logprobs.masked_fill(mask, INVALID_LOGPROB)
    reference = reference.masked_fill(mask, INVALID_LOGPROB)
    values = values.masked_fill(mask_p1, 0)
    rewards = -OPTIONS["kl_coef"] * (logprobs - reference)
    end = torch.where(lengths + 1 < LENGTH, lengths + 1, lengths)
    rewards[torch.arange(len(responses)), end] += scores
    if OPTIONS["whiten_rewards"]:
        rewards = masked_whiten(rewards, ~mask_p1, shift_mean=False).masked_fill(mask_p1, 0)
    last, reverse = 0, []
    for t in reversed(range(LENGTH)):
        following = values[:, t + 1] if t < LENGTH - 1 else 0.0
        delta = rewards[:, t] + OPTIONS["gamma"] * following - values[:, t]
        last = delta + OPTIONS["gamma"] * OPTIONS["lam"] * last
        reverse.append(last)
    advantages = torch.stack(reverse[::-1], 1)
    returns = advantages + values
    advantages = masked_whiten(advantages, ~mask).masked_fill(mask, 0)
    return scores, rewards, returns, advantages, mask, mask_p1


def states(model, rows):
    """Of the responses: log-probabilities [B][n], hidden states [B][n + 1, d] before and after their tokens, and the entropy
    [B][n] of what the model would say in their place."""
    logprobs, hidden, entropies = [], [], []
    for prompt, response in rows:
        out = model(input_ids=torch.tensor([prompt + response]), output_hidden_states=True)
        logs = out.logits[0, len(prompt) - 1:-1].log_softmax(-1)
        logprobs.append(logs.gather(1, torch.tensor(response)[:, None])[:, 0])
        hidden.append(out.hidden_states[-1][0, len(prompt) - 1:])
        z = out.logits[0, len(prompt) - 1:-1]
        entropies.append(torch.logsumexp(z, dim=-1) - torch.sum(z.softmax(-1) * z, dim=-1))
    return logprobs, hidden, entropies


def losses(policy, value, head, rows, old, mask, mask_p1):
    logprobs, _, entropies = states(policy, rows)
    _, hidden, _ = states(value, rows)
    new = torch.stack([torch.cat([x, torch.zeros(LENGTH - len(x))]) for x in logprobs]).masked_fill(mask, INVALID_LOGPROB)
    predicted = [(h @ head)[:LENGTH] for h in hidden]
    vpred = torch.stack([torch.cat([x, torch.zeros(LENGTH - len(x))]) for x in predicted]).masked_fill(mask_p1, 0)
    clipped = torch.clamp(vpred, old["values"] - OPTIONS["cliprange_value"], old["values"] + OPTIONS["cliprange_value"])
    vf1, vf2 = (vpred - old["returns"]) ** 2, (clipped - old["returns"]) ** 2
    vf = 0.5 * masked_mean(torch.max(vf1, vf2), ~mask_p1)
    difference = new - old["logprobs"]
    ratio = difference.exp()
    pg1 = -old["advantages"] * ratio
    pg2 = -old["advantages"] * torch.clamp(ratio, 1 - OPTIONS["cliprange"], 1 + OPTIONS["cliprange"])
    pg = masked_mean(torch.max(pg1, pg2), ~mask)
    return pg + OPTIONS["vf_coef"] * vf, {
        "loss/policy_avg": pg, "loss/value_avg": vf, "policy/clipfrac_avg": masked_mean((pg2 > pg1).float(), ~mask),
        "val/clipfrac_avg": masked_mean((vf2 > vf1).float(), ~mask_p1),
        "policy/approxkl_avg": 0.5 * masked_mean(difference ** 2, ~mask), "val/ratio": masked_mean(ratio, ~mask),
        "policy/entropy_avg": torch.cat(entropies).mean()}


def value_adapter(folder, target):
    torch.manual_seed(11)
    base = LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager")
    config = LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(base, config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.2)
    model.save_pretrained(target)
    (target / "README.md").unlink(missing_ok=True)
    return model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "goldens")
    out = parser.parse_args().out
    folder, target = out / "models" / "llama", out / "train" / "ppo"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    policy = PeftModel.from_pretrained(LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager"),
                                       folder / "adapter", is_trainable=True)
    value = value_adapter(folder, target / "value")
    g = torch.Generator().manual_seed(5)
    noise = lambda x, scale: x + scale * torch.randn(x.shape, generator=g)
    head = (0.3 * torch.randn(32, generator=g)).requires_grad_(True)
    rows = answers(3)
    responses = [r for _, r in rows]
    with torch.no_grad():
        now, _, _ = states(policy, rows)
        with policy.disable_adapter():
            base, _, _ = states(policy, rows)
        _, hidden, _ = states(value, rows)
        kept = [(noise(h @ head, 0.2))[:min(LENGTH, len(r) + (r[-1] == EOS))] for h, r in zip(hidden, responses)]
        old = {"logprobs": padded([noise(x, 0.15).tolist() for x in now]), "values": padded([v.tolist() for v in kept])}
        raw = torch.randn(len(rows), generator=g)
        scores, rewards, old["returns"], old["advantages"], mask, mask_p1 = advantages_of(
            old["logprobs"], padded([x.tolist() for x in base]), old["values"], raw, responses)
        old["logprobs"] = old["logprobs"].masked_fill(mask, INVALID_LOGPROB)
    episodes = []
    for i, (prompt, response) in enumerate(rows):
        n, m = len(response), len(kept[i])
        episodes.append({"ids": prompt + response, "prompt": len(prompt), "response": "",
                         "logprobs": old["logprobs"][i, :n].tolist(), "reference": base[i].tolist(),
                         "values": old["values"][i, :m].tolist(), "score": scores[i].item(),
                         "rewards": rewards[i, :m].tolist(), "returns": old["returns"][i, :m].tolist(),
                         "advantages": old["advantages"][i, :n].tolist()})
    state = {"kl_coef": OPTIONS["kl_coef"], "samples_bytes": 0,
             "rollout": {"index": 0, "ended": sum(r[-1] == EOS for r in responses), "kl_coef": OPTIONS["kl_coef"],
                         "episodes": episodes}}
    (target / "ppo_state.json").write_text(json.dumps(state) + "\n")

    named = {**{n.replace(".default", ""): p for n, p in policy.named_parameters() if p.requires_grad},
             **{"value." + n.replace(".default", ""): p for n, p in value.named_parameters() if p.requires_grad},
             "value.score.weight": head}
    optimiser = torch.optim.AdamW(named.values(), lr=OPTIONS["lr"], weight_decay=0)
    report = {"options": OPTIONS, "head": head.tolist(), "updates": []}
    ratios = []  # of the micro-batches so far: val/ratio_var is their variance, as TRL logs it at the end of a rollout
    for update, micro in enumerate(MICRO):
        optimiser.zero_grad()
        loss, metrics = 0.0, {}
        for which in micro:
            part, measured = losses(policy, value, head, [rows[i] for i in which],
                                    {name: tensor[which] for name, tensor in old.items()}, mask[which], mask_p1[which])
            (part / len(micro)).backward()
            loss += part.item() / len(micro)
            ratios.append(measured["val/ratio"].item())
            for name, number in measured.items():
                metrics[name] = metrics.get(name, 0.0) + number.item() / len(micro)
        metrics["val/ratio_var"] = torch.tensor(ratios).var().item()
        report["updates"].append({"loss": loss, "metrics": metrics})
        if update == 0:
            save_file({n: p.grad.clone() for n, p in named.items()}, target / "gradients.safetensors")
            optimiser.step()
    (target / "update.json").write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
