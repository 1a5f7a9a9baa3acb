#!/usr/bin/env python3
"""Writes goldens/data/chat_trl.json: a handful of conversations as TRL's SFTTrainer prepares them (assistant_only_loss, with the training
twin of a stock template): token ids and masks, with a byte-level tokenizer of a few hundred tokens that stands in the file too.

    make_chat_trl_goldens.py [--out FOLDER]

What a twin learns in front of an answer although inference gives it (the newline of the generation prompt) is left out of the masks here, and
counted ("left_out").
"""
import argparse
import json
import os
import pathlib
import tempfile
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import datasets
import tokenizers
import torch
import transformers
import trl.chat_template_utils as stock

import chat_trl_parity as live

datasets.disable_progress_bars()


def turns(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


ROWS = [
    {"messages": turns("What is a panel painting?", "A painting on wood.")},
    {"messages": [{"role": "system", "content": "Answer in one word."}, *turns("Who painted it?", "Giotto.", "When?", "Around 1305.")]},
    {"messages": turns("  spaces, and a\nnew line ", "Übermalung – 绘画 🎨\n\n- one\n- two\n")},
    {"messages": turns("Go on", "", "And now?", "Now it is done.")},
    {"messages": turns("Say <b>tags</b> & \"quotes\"", "<|not a token|> {{ braces }}")},
    {"messages": turns("ab cd " * 400, "cut away by the length")},
]
CALL = {"type": "function", "function": {"name": "size_of", "arguments": {"title": "The boat", "unit": "cm"}}}
TOOLS = [{"type": "function", "function": {"name": "size_of", "description": "The size of a painting",
                                           "parameters": {"type": "object", "properties": {"title": {"type": "string"}, "unit": {"type": "string"}},
                                                          "required": ["title"]}}}]
TOOL_ROWS = [{"messages": [{"role": "user", "content": "How large is it?"}, {"role": "assistant", "content": "", "tool_calls": [CALL]},
                           {"role": "tool", "content": "{\"height\": 40}"}, {"role": "assistant", "content": "It is 40 cm high."}],
              "tools": TOOLS}]


def small_tokenizer():
    tokenizer = tokenizers.ByteLevelBPETokenizer()
    words = " ".join(message["content"] for row in ROWS[:5] for message in row["messages"])
    tokenizer.train_from_iterator([words] * 3, vocab_size=320, min_frequency=2, show_progress=False)
    return tokenizer


def prepared(name, rows, folder):
    template = getattr(stock, f"{name}_chat_template")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=small_tokenizer()._tokenizer)
    end = {"qwen2_5": "<|im_end|>", "llama3": "<|eot_id|>"}[name]
    more = [t for t in ("<|im_start|>", "<|start_header_id|>", "<|end_header_id|>") if t in template]
    tokenizer.add_special_tokens({"bos_token": "<|begin_of_text|>", "eos_token": end, "pad_token": "<|pad|>", "additional_special_tokens": more})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                                                   num_attention_heads=1, max_position_embeddings=1024))
    expected = live.theirs(live.trainer(folder, tokenizer, rows, model).train_dataset)
    asked = [{"role": "user", "content": "x"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)[
        len(tokenizer.apply_chat_template(asked, tokenize=False)):]
    newline = tokenizer.convert_tokens_to_ids("Ċ")
    found = []
    for ids, mask in expected:
        left_out = 0
        for i in range(1, len(ids)):
            begins = mask[i] and not mask[i - 1]
            if begins and ids[i] == newline and prompt.endswith("\n") and tokenizer.decode(ids[:i + 1]).endswith(prompt):
                mask[i] = 0
                left_out += 1
        if any(mask):
            found.append({"ids": ids, "learned": mask, "left_out": left_out})
    files = {file: json.loads((folder / file).read_text(encoding="utf-8")) for file in ("tokenizer.json", "tokenizer_config.json")}
    return {"files": files, "template": template, "rows": rows, "expected": found}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "data")
    out = parser.parse_args().out / "chat_trl.json"
    torch.set_num_threads(1)
    live.SEQ_LEN = 1024
    with tempfile.TemporaryDirectory() as work:
        golden = {"seq_len": live.SEQ_LEN}
        for name, rows in (("llama3", ROWS), ("qwen2_5", ROWS), ("qwen2_5_tools", TOOL_ROWS)):
            folder = pathlib.Path(work) / name
            folder.mkdir()
            golden[name] = prepared(name.removesuffix("_tools"), rows, folder)
    out.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
