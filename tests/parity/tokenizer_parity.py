#!/usr/bin/env python3
"""Token ids against PyPI tokenizers, on random and adversarial strings.

Trains byte-level tokenizers with the patterns of GPT-2, Llama-3 and Qwen2 on texts under $LOWRANK_ASSETS, makes strings,
and compares every line of our `tokenize_lines` with the reference: ids, and the texts decoded from ids (also streamed).

    tokenizer_parity.py --tool build/tests/tokenize_lines [--count 100000] [--seed 1]
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPECIAL = ["<|begin|>", "<|end|>", "<|pad|>"]


def train(name, assets):
    tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name == "gpt2")
    if name == "gpt2":
        tokenizer.pre_tokenizer = byte_level
    else:
        pattern = LLAMA3 if name == "llama3" else QWEN2
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level])
    if name == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    files = sorted(str(p) for p in (assets / "corpora" / "art-history").glob("*.txt"))
    files.append(str(assets / "corpora" / "general" / "wikitext2.valid.txt"))
    files.append(str(assets / "corpora" / "moma" / "Artists.csv"))
    trainer = trainers.BpeTrainer(vocab_size={"gpt2": 2000, "llama3": 4000, "qwen2": 3000}[name],
                                  special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train(files, trainer)
    tokenizer.add_tokens([
        AddedToken("<mask>", lstrip=True, special=True, normalized=False),
        AddedToken("<|end|>x", special=False, normalized=False),          # longer than a special token
        AddedToken("<tail>", rstrip=True, special=True, normalized=False),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("caf\u00e9", normalized=True),                          # in the normalised text
        AddedToken("    ", normalized=True),
        AddedToken("  ", normalized=True),
        AddedToken("<both>", lstrip=True, rstrip=True, single_word=True, normalized=False),
    ])
    if name == "llama3":
        begin = tokenizer.token_to_id("<|begin|>")
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1",
                                          special_tokens=[("<|begin|>", begin)])])
    elif name == "qwen2":
        end = tokenizer.token_to_id("<|end|>")
        tokenizer.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", end)])
    else:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


PIECES = (["'s", "'S", "'t", "'re", "'LL", "'ve", "'\u017f", "\u2019s", "word", "words", "caf\u00e9", "cafe\u0301", "e\u0301", "\u1e9b\u0323",
           "<mask>", "<tail>", "<both>", "<|end|>", "<|end|>x", "<|begin|>", "<|pad|>", "<|en", "d|>", "\r\n", "\n\n", "\n", "\r",
           "\t", "\x0b", "\x0c", "\x00", "\x85", "\xa0", "\u1680", "\u180e", "\u2028", "\u2029", "\u200b", "\u200d", "\u202f", "\u3000", "\ufeff",
           "0", "12", "123", "1234", "12345", "3.14", "\u0663\u0664", "\u00bd", "\u2167", "\u4e09", "\u00b2", "\uff11", "!", "?!", "...", "\u2014",
           "_", "__init__", "(", ")", "=>", "//", "\"", "\u3002", "\u4e2d\u6587", "\u65e5\u672c\u8a9e", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab", "\u0440\u0443\u0441",
           "\u05e2\u05d1\u05e8", "\u0639\u0631\u0628", "\u0e44\u0e17\u0e22", "\u0939\u093f\u0928\u094d\u0926\u0940", "\U0001f642", "\U0001f469\u200d\U0001f680", "\U0001f1e9\U0001f1ea",
           "\u0131", "\u0130", "\u00df", "\ufb01", "\u212b", "\u2126", "\u0958", "\u0300\u0316\u0301", "a\u0316\u0301", "\ufffd", "\U000e0001", "\U0010ffff", "\ue000"]
          + [" " * n for n in range(1, 12)] + [" "] * 10)


def random_string(rng, words, documents):
    kind = rng.random()
    if kind < 0.25:                                   # a slice of real text
        text = rng.choice(documents)
        start = rng.randrange(len(text))
        return text[start:start + rng.randrange(1, 120)]
    if kind < 0.60:                                   # adversarial pieces among words
        return "".join(rng.choice(PIECES) if rng.random() < 0.6 else rng.choice(words)
                       for _ in range(rng.randrange(1, 14)))
    if kind < 0.70:                                   # runs
        return "".join(rng.choice(PIECES) * rng.randrange(1, 9) for _ in range(rng.randrange(1, 5)))
    if kind < 0.80:                                   # ASCII of all kinds
        return "".join(chr(rng.randrange(128)) for _ in range(rng.randrange(0, 40)))
    if kind < 0.90:                                   # the first planes, where most rules are
        return "".join(chr(rng.randrange(0x3100)) for _ in range(rng.randrange(1, 30)))
    out = []                                          # any character
    while len(out) < rng.randrange(1, 20):
        c = rng.randrange(0x110000) if rng.random() < 0.5 else rng.randrange(0x20000)
        if not 0xD800 <= c < 0xE000:
            out.append(chr(c))
    return "".join(out)


def every_character():
    """Each character behind a letter, behind a space, and between marks of two classes that normal forms reorder."""
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            yield f"a{chr(c)}1{chr(c)} {chr(c)}!{chr(c)}  e{chr(c)}\u0301\u0323{chr(c)}"


def ours(tool, folder, lines, *options):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([tool, str(folder), *options], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{tool} failed: {done.stderr}")
    result = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    if len(result) != len(lines):
        sys.exit(f"{tool} gave {len(result)} lines for {len(lines)}")
    return result


def compare(what, inputs, expected, got):
    wrong = [i for i in range(len(inputs)) if expected[i] != got[i]]
    print(f"{what}: {len(inputs) - len(wrong)} of {len(inputs)} equal")
    for i in wrong[:10]:
        print(f"  {inputs[i]!r}\n    expected {expected[i]}\n    got      {got[i]}")
    return len(wrong)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", required=True, help="the built tokenize_lines")
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every-character", action="store_true", help="instead of random strings, all of Unicode")
    options = parser.parse_args()
    assets = pathlib.Path(os.environ["LOWRANK_ASSETS"])
    documents = [p.read_text(encoding="utf-8") for p in sorted((assets / "corpora" / "art-history").glob("*.txt"))]
    documents.append((assets / "corpora" / "moma" / "Artists.csv").read_text(encoding="utf-8"))
    words = sorted(set(" ".join(documents).split()))
    rng = random.Random(options.seed)
    strings = [random_string(rng, words, documents) for _ in range(options.count)]
    if options.every_character:
        strings = list(every_character())
    print(f"tokenizers {tokenizers.__version__}, {len(strings)} strings, seed {options.seed}")
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        for name in ["gpt2", "llama3", "qwen2"]:
            tokenizer = train(name, assets)
            folder = pathlib.Path(temporary) / name
            folder.mkdir()
            tokenizer.save(str(folder / "tokenizer.json"))
            expected = [e.ids for e in tokenizer.encode_batch(strings)]
            wrong += compare(f"{name} ids", strings, expected, ours(options.tool, folder, strings, "--special"))
            # Decoding: the ids of the strings, and random ids, which make broken UTF-8.
            size = tokenizer.get_vocab_size()
            ids = expected[:options.count // 4]
            ids += [[rng.randrange(size + 3) for _ in range(rng.randrange(0, 12))] for _ in range(options.count // 4)]
            skip = ours(options.tool, folder, ids, "--decode")
            keep = ours(options.tool, folder, ids, "--decode", "--keep")
            wrong += compare(f"{name} text", ids, tokenizer.decode_batch(ids, skip_special_tokens=True), skip)
            wrong += compare(f"{name} text with special tokens", ids,
                             tokenizer.decode_batch(ids, skip_special_tokens=False), keep)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
