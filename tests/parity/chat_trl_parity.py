#!/usr/bin/env python3
"""Conversations against TRL's SFTTrainer, live.

    chat_trl_parity.py --lowrank build/bin/lowrank --assets DIR [--work DIR] [--rows 60] [--steps 20]

Rows of alpaca_en_demo, glaive_toolcall, v1_sft_demo, identity and GSM8K, as the files have them, with a tiny model whose tokenizer is
GPT-2's and whose template is a stock one of TRL's: token ids and masks of `lowrank inspect --data` equal those that SFTTrainer makes
with assistant_only_loss, for which it takes the training twin of the template, but for what some twins learn in front of an answer although
inference gives it (the newline of the generation prompt): those rows are counted apart. wikisql's rows are text. Then runs on
them with templates whose twins are exact: the losses of every step, from the same adapter and in the same order.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import datasets
import peft
import torch
import transformers
import trl
import trl.chat_template_utils as stock

datasets.disable_progress_bars()
SEQ_LEN = 512
TOLERANCE = 1e-4


def call(text):
    """LLaMA-Factory's function_call as transformers has it."""
    made = json.loads(text)
    made = made if isinstance(made, list) else [made]
    return {"role": "assistant", "tool_calls": [{"type": "function", "function": one} for one in made]}


def of_sharegpt(row):
    roles = {"human": "user", "gpt": "assistant", "observation": "tool"}
    messages = [call(t["value"]) if t["from"] == "function_call" else {"role": roles[t["from"]], "content": t["value"]}
                for t in row["conversations"]]
    return {"messages": messages, "tools": json.loads(row["tools"]) if row.get("tools") else []}


def of_pair(question, answer):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def of_parts(turn):
    """LLaMA-Factory's text parts joined; its roles are transformers'."""
    return {"role": turn["role"], "content": "".join(part["value"] for part in turn["content"])}


def of_alpaca(row):
    return of_pair(row["instruction"] + ("\n" + row["input"] if row["input"] else ""), row["output"])


SETS = {
    "alpaca_en_demo": ("llamafactory/alpaca_en_demo.json", of_alpaca),
    "identity": ("llamafactory/identity.json", of_alpaca),
    "glaive_toolcall": ("llamafactory/glaive_toolcall_en_demo.json", of_sharegpt),
    "v1_sft_demo": ("llamafactory/v1_sft_demo.jsonl", lambda row: {"messages": [of_parts(turn) for turn in row["messages"]]}),
    "gsm8k": ("gsm8k/train.jsonl", lambda row: of_pair(row["question"], row["answer"])),
    "wikisql": ("mlx-wikisql/train.jsonl", lambda row: {"text": row["text"]}),
}
TEMPLATES = ["qwen2_5", "llama3", "lfm2_v2"]
EXACT = {"glaive_toolcall": "lfm2_v2"}  # the template whose twin learns what we do, of tools too; of other sets:
EXACT_TEXT = "llama3"
NO_TOOLS = {"llama3"}


def read(path, count):
    text = path.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines() if line] if path.suffix == ".jsonl" else json.loads(text)
    return rows[:count]


def make_model(assets, name, folder):
    """A tiny Llama with GPT-2's tokenizer, whose special tokens are those of the template."""
    template = getattr(stock, f"{name}_chat_template")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(assets / "tokenizers" / "gpt2" / "tokenizer.json"))
    ends = {"qwen2_5": "<|im_end|>", "llama3": "<|eot_id|>", "lfm2_v2": "<|im_end|>"}
    more = ["<|im_start|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokenizer.add_special_tokens({"bos_token": "<|begin_of_text|>", "eos_token": ends[name], "pad_token": "<|pad|>",
                                  "additional_special_tokens": [t for t in more if t in template]})
    tokenizer.chat_template = template
    config = transformers.LlamaConfig(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                      num_attention_heads=2, max_position_embeddings=1024, bos_token_id=tokenizer.bos_token_id,
                                      eos_token_id=tokenizer.eos_token_id)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


def trainer(folder, tokenizer, rows, model=None, steps=1):
    """SFTTrainer on these rows, which it tokenizes and masks as it is made."""
    text = "text" in rows[0]
    config = trl.SFTConfig(output_dir=str(folder / "trl"), max_length=SEQ_LEN, assistant_only_loss=not text, per_device_train_batch_size=2,
                           max_steps=steps, learning_rate=1e-3, lr_scheduler_type="constant", warmup_steps=0, optim="adamw_torch",
                           weight_decay=0.0, max_grad_norm=1.0, report_to="none", use_cpu=True, bf16=False, logging_steps=1,
                           gradient_checkpointing=False, seed=0, disable_tqdm=True)
    return InOrder(model=model or transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), args=config,
                   # Without it, every call would have the arguments of all, null where it has none.
                   train_dataset=datasets.Dataset.from_list(rows, on_mixed_types="use_json"), processing_class=tokenizer)


class InOrder(trl.SFTTrainer):
    """Takes the rows as they come, and keeps the loss of every step."""

    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)

    def compute_loss(self, *args, **kwargs):
        out = super().compute_loss(*args, **kwargs)
        self.losses = [*getattr(self, "losses", []), float((out[0] if isinstance(out, tuple) else out).detach())]
        return out


def theirs(prepared):
    """Ids and masks as they are trained on: the first token is never predicted."""
    found = []
    for row in prepared:
        ids = row["input_ids"][:SEQ_LEN]
        mask = [int(label != -100) for label in row["labels"][:SEQ_LEN]] if "labels" in row else [1] * len(ids)
        found.append((ids, [0, *mask[1:]]))
    return found


def same_but_for_the_prompt(expected, got, tokenizer, prompt):
    """The same ids, and a mask that leaves out of theirs only pieces of the generation prompt in front of answers."""
    if expected[0] != got[0] or any(b > a for a, b in zip(expected[1], got[1])):
        return False
    left, piece = [], []
    for token, a, b in zip(*expected, got[1]):
        if a and not b:
            piece.append(token)
        elif piece:
            left.append((tokenizer.decode(piece), b))
            piece = []
    return not piece and all(learned_follows and text in prompt for text, learned_follows in left)


def ours(lowrank, folder, file, count):
    done = subprocess.run([lowrank, "inspect", folder, "--data", file, "--examples", str(count), "--seq-len", str(SEQ_LEN), "--json"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"lowrank inspect: {done.stderr}")
    return [(e["ids"], e["learned"]) for e in json.loads(done.stdout)["examples"]]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def compare(lowrank, assets, work, name, count):
    folder = work / name
    tokenizer = make_model(assets, name, folder)
    asked = [{"role": "user", "content": "x"}]
    prompt = "".join(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)[
        len(tokenizer.apply_chat_template(asked, tokenize=False)):])
    wrong = 0
    for what, (file, convert) in SETS.items():
        if what == "glaive_toolcall" and name in NO_TOOLS:
            continue
        rows = read(assets / "instruct" / file, count)
        expected = theirs(trainer(folder, tokenizer, [convert(row) for row in rows]).train_dataset)
        # Rows that the cut leaves nothing to learn of are left out here; there they weigh nothing.
        expected = [(ids, mask) for ids, mask in expected if any(mask)]
        got = ours(lowrank, folder, write_rows(work / f"{what}.jsonl", rows), 10 * count)
        got = [one for one in got if what != "wikisql" or len(one[0]) <= SEQ_LEN]
        exact = sum(a == b for a, b in zip(expected, got))
        same = [same_but_for_the_prompt(a, b, tokenizer, prompt) for a, b in zip(expected, got)]
        whole = sum(same) == len(expected) == len(got)
        wrong += not whole
        print(f"{'ok  ' if whole else 'FAIL'} {name}, {what}: {sum(same)} of {len(expected)} rows have SFTTrainer's ids and masks, {exact} of "
              f"them to the token ({sum(sum(m) for _, m in got)} of {sum(len(i) for i, _ in got)} tokens learned)", flush=True)
        if not whole:
            print(f"    {len(got)} rows here")
            for a, b, fine in zip(expected, got, same):
                if not fine:
                    print(f"    TRL {tokenizer.decode(a[0])[:1500]!r}\n        learned {tokenizer.decode([t for t, m in zip(*a) if m])[:700]!r}")
                    print(f"    here {tokenizer.decode(b[0])[:1500]!r}\n        learned {tokenizer.decode([t for t, m in zip(*b) if m])[:700]!r}")
                    break
    return wrong


def curve(lowrank, assets, work, name, what, steps):
    folder = work / name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = read(assets / "instruct" / SETS[what][0], 2 * steps)
    start = work / f"start-{name}"
    torch.manual_seed(1)
    config = peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32), config)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            torch.nn.init.normal_(parameter, std=0.05)
    model.save_pretrained(start)
    made = trainer(folder, tokenizer, [SETS[what][1](row) for row in rows], model, steps)
    made.train()
    out = work / f"out-{name}-{what}"
    subprocess.run([str(c) for c in (lowrank, "finetune", folder, "--adapter", start, "--data", write_rows(work / "curve.jsonl", rows),
                                     "--out", out, "--seq-len", SEQ_LEN, "--batch-size", 2, "--max-steps", steps, "--lr", 1e-3, "--schedule",
                                     "constant", "--warmup", 0, "--no-shuffle", "--val-split", 0, "--dtype", "float32", "--quiet")], check=True)
    got = [row["loss"] for row in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if "loss" in row]
    error = max(abs(a - b) / b for a, b in zip(got, made.losses, strict=True))
    print(f"{'ok  ' if error <= TOLERANCE else 'FAIL'} {name}, {what}: losses of {steps} steps within {error:.1e} of SFTTrainer's "
          f"({got[0]:.4f} to {got[-1]:.4f})", flush=True)
    return error > TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", required=True)
    parser.add_argument("--assets", default=os.environ.get("LOWRANK_ASSETS"))
    parser.add_argument("--work")
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", help="one template")
    options = parser.parse_args()
    torch.set_num_threads(1)
    assets = pathlib.Path(options.assets)
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(options.work or temporary)
        work.mkdir(parents=True, exist_ok=True)
        names = [options.only] if options.only else TEMPLATES
        wrong = sum(compare(options.lowrank, assets, work, name, options.rows) for name in names)
        if options.steps:
            for what in SETS:
                name = EXACT.get(what, EXACT_TEXT)
                if name in names:
                    wrong += curve(options.lowrank, assets, work, name, what, options.steps)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
