#!/usr/bin/env python3
"""Token ids against PyPI tokenizers, on random and adversarial strings.

Trains tokenizers of each layout that models are published with, and of every component and option, with three seeds, on
texts under $LOWRANK_ASSETS; takes those that are there too; makes strings; and compares what our `tokenize_lines` gives for
them and for every line of every corpus with the reference: ids, and the texts decoded from ids (also streamed).

    tokenizer_parity.py --tool build/tests/tokenize_lines [--count 100000] [--lines N] [--seeds 3] [--kind llama3] [--seed 1]
"""
import argparse
import base64
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
QWEN35 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = TEKKEN.replace(LOWER + "+|", LOWER + "+" + CONTRACTIONS + "?|").replace(LOWER + "*|", LOWER + "*" + CONTRACTIONS + "?|").replace(
    r"|\p{N}|", r"|\p{N}{1,3}|")
DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
            r"\s*[\r\n]+|\s+(?!\S)|\s+"]
CLIP = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
SPECIAL = ["<|begin|>", "<|end|>", "<|pad|>", "<unk>"]
LLAMA_DECODER = lambda: decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def byte_level(use_regex=False, prefix=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


def metaspace(scheme, cut):
    return pre_tokenizers.Metaspace("\u2581", scheme, cut)


def t5_charsmap():
    path = pathlib.Path(os.environ["LOWRANK_ASSETS"]) / "tokenizers" / "t5-small" / "tokenizer.json"
    normalizer = json.loads(path.read_text(encoding="utf-8"))["normalizer"]
    return normalizers.Precompiled(base64.b64decode(normalizer["precompiled_charsmap"]))


def kinds():
    """name: (model, trainer's options, normalizer, pre-tokenizer, decoder). One for each layout that models are published with."""
    bpe = lambda **options: models.BPE(**options)
    alphabet = dict(initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    level = decoders.ByteLevel()
    spm = dict(byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    fallback = dict(special=BYTES)
    underscore = decoders.Metaspace("\u2581", "always", True)
    return {
        "gpt2": (bpe(), alphabet, None, byte_level(True), level),
        "llama3": (bpe(ignore_merges=True), alphabet, None, sequence(split(LLAMA3), byte_level()), level),
        "qwen2": (bpe(), alphabet, normalizers.NFC(), sequence(split(QWEN2), byte_level()), level),
        "qwen3_5": (bpe(), alphabet, normalizers.NFC(), sequence(split(QWEN35), byte_level()), level),
        "o200k": (bpe(), alphabet, None, sequence(split(O200K), byte_level()), level),
        "tekken": (bpe(ignore_merges=True), alphabet, None, sequence(split(TEKKEN), byte_level()), level),
        "deepseek": (bpe(), alphabet, normalizers.Sequence([]), sequence(*map(split, DEEPSEEK), byte_level()), level),
        "smollm": (bpe(), alphabet, None, sequence(pre_tokenizers.Digits(True), byte_level(True)), level),
        "falcon": (bpe(), alphabet, None, sequence(pre_tokenizers.Punctuation("contiguous"), byte_level(True),
                                                   pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")), level),
        "prefix-space": (bpe(), alphabet, None, byte_level(True, True), level),
        "llama-legacy": (bpe(**spm), fallback, normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
                         None, LLAMA_DECODER()),
        "llama-first": (bpe(**spm), fallback, None, metaspace("first", False), LLAMA_DECODER()),
        "gemma": (bpe(**spm), fallback, normalizers.Replace(" ", "\u2581"), pre_tokenizers.Split(" ", "merged_with_previous"),
                  decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])),
        "stripped-first": (bpe(**spm), fallback, normalizers.Strip(), metaspace("first", True), LLAMA_DECODER()),
        "clip": (bpe(unk_token="<unk>", end_of_word_suffix="</w>"), dict(end_of_word_suffix="</w>", **alphabet),
                 normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]),
                 sequence(split(CLIP, "removed", True), byte_level()), decoders.BPEDecoder("</w>")),
        "continuing": (bpe(unk_token="<unk>", continuing_subword_prefix="##"), dict(continuing_subword_prefix="##"),
                       normalizers.NFKC(), pre_tokenizers.Whitespace(), decoders.WordPiece()),
        "t5": (models.Unigram(), dict(), t5_charsmap(), sequence(pre_tokenizers.WhitespaceSplit(), metaspace("always", True)), underscore),
        "xlm-r": (models.Unigram(), dict(), normalizers.Sequence([t5_charsmap(), normalizers.Replace(Regex(" {2,}"), " ")]),
                  metaspace("always", True), underscore),
        "albert": (models.Unigram(), dict(), normalizers.Sequence([
            normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
            normalizers.Lowercase(), t5_charsmap(), normalizers.Strip(False, True), normalizers.Replace(Regex(" {2,}"), "\u2581")]),
            metaspace("first", True), underscore),
        "unigram-bytes": (models.Unigram(), dict(fallback), normalizers.Nmt(), metaspace("never", False), LLAMA_DECODER()),
        "bert": (models.WordPiece(unk_token="<unk>"), dict(), normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(),
                 decoders.WordPiece()),
        "bert-cased": (models.WordPiece(unk_token="<unk>", max_input_chars_per_word=12), dict(),
                       normalizers.BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False),
                       sequence(pre_tokenizers.BertPreTokenizer(), pre_tokenizers.UnicodeScripts()), decoders.WordPiece("##", False)),
        "words": (models.WordLevel(unk_token="<unk>"), dict(), normalizers.NFD(), pre_tokenizers.Whitespace(), None),
        "odd-cuts": (bpe(unk_token="<unk>"), dict(), normalizers.Sequence([normalizers.NFKD(), normalizers.Strip(True, False)]),
                     sequence(pre_tokenizers.CharDelimiterSplit("e"), split(r"[a-m&&[^k]]+|[[:punct:]\d]", "merged_with_next"),
                              split(r"(?<=\s)\S|\bt\w", "contiguous", True), pre_tokenizers.FixedLength(7)), decoders.Fuse()),
    }


def train(name, seed, documents):
    model, options, normalizer, pre_tokenizer, decoder = kinds()[name]
    rng = random.Random(seed)
    tokenizer = Tokenizer(model)
    for part, value in [("normalizer", normalizer), ("pre_tokenizer", pre_tokenizer), ("decoder", decoder)]:
        if value is not None:
            setattr(tokenizer, part, value)
    options = dict(options)
    special = SPECIAL + options.pop("special", [])
    kind = {models.BPE: trainers.BpeTrainer, models.Unigram: trainers.UnigramTrainer, models.WordPiece: trainers.WordPieceTrainer,
            models.WordLevel: trainers.WordLevelTrainer}[type(model)]
    if kind is trainers.UnigramTrainer:
        options["unk_token"] = "<unk>"
    lines = [line for text in documents for line in text.splitlines()]
    sample = rng.sample(lines, min(len(lines), 6000))
    trainer = kind(vocab_size=rng.choice([1500, 3000, 5000]), special_tokens=special, show_progress=False, **options)
    tokenizer.train_from_iterator(sample, trainer)
    added = [
        AddedToken("<mask>", lstrip=True, special=True, normalized=False),
        AddedToken("<|end|>x", special=False, normalized=False),          # longer than a special token
        AddedToken("<tail>", rstrip=True, special=True, normalized=False),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("caf\u00e9", normalized=True),                          # in the normalised text
        AddedToken("    ", normalized=True),
        AddedToken("  ", normalized=True),
        AddedToken("<both>", lstrip=True, rstrip=True, single_word=True, normalized=False),
    ]
    # (A token that the normalizer leaves nothing of is found everywhere by the reference, which does not come back then.)
    added = [token for token in added if not token.normalized or normalizer is None or normalizer.normalize_str(token.content)]
    # Of two that the normalizer makes equal the reference finds one or the other from process to process.
    taken, chosen = set(), []
    for token in added:
        key = normalizer.normalize_str(token.content) if token.normalized and normalizer is not None else token.content
        if rng.random() < 0.8 and key not in taken:
            taken.add(key)
            chosen.append(token)
    tokenizer.add_tokens(chosen)
    begin, end = tokenizer.token_to_id("<|begin|>"), tokenizer.token_to_id("<|end|>")
    tokenizer.post_processor = rng.choice([
        processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1", special_tokens=[("<|begin|>", begin)])]),
        processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", end)]),
        processors.BertProcessing(("<|end|>", end), ("<|begin|>", begin)),
        processors.RobertaProcessing(("<|end|>", end), ("<|begin|>", begin)),
        processors.ByteLevel(trim_offsets=True)])
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


def encoded(tokenizer, strings):
    """The strings that the reference can encode, and their ids: it panics on some where an added token's spaces meet another."""
    try:
        return strings, [e.ids for e in tokenizer.encode_batch(strings)]
    except BaseException as error:  # pyo3's PanicException is no Exception
        if len(strings) == 1:
            if not isinstance(error, Exception) and "Panic" not in type(error).__name__:
                raise
            return [], []
    half = len(strings) // 2
    first, second = encoded(tokenizer, strings[:half]), encoded(tokenizer, strings[half:])
    return first[0] + second[0], first[1] + second[1]


def check(name, tokenizer, folder, strings, count, rng, tool):
    tokenizer.save(str(folder / "tokenizer.json"))
    given = len(strings)
    strings, expected = encoded(tokenizer, strings)
    if len(strings) < given:
        print(f"{name}: the reference itself failed on {given - len(strings)}")
    wrong = compare(f"{name} ids", strings, expected, ours(tool, folder, strings, "--special"))
    # Decoding: the ids of the strings, and random ids, which make broken UTF-8.
    size = tokenizer.get_vocab_size()
    ids = expected[:count // 4] + [[rng.randrange(size + 3) for _ in range(rng.randrange(0, 12))] for _ in range(count // 4)]
    skip = ours(tool, folder, ids, "--decode")
    keep = ours(tool, folder, ids, "--decode", "--keep")
    wrong += compare(f"{name} text", ids, tokenizer.decode_batch(ids, skip_special_tokens=True), skip)
    wrong += compare(f"{name} text with special tokens", ids, tokenizer.decode_batch(ids, skip_special_tokens=False), keep)
    return wrong


def corpora(assets):
    """Every text under corpora/ and instruct/, by file."""
    files = [p for folder in ["corpora", "instruct"] for p in sorted((assets / folder).rglob("*"))
             if p.suffix in [".txt", ".csv", ".jsonl", ".json"]]
    return {str(p.relative_to(assets)): p.read_text(encoding="utf-8") for p in files}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", required=True, help="the built tokenize_lines")
    parser.add_argument("--count", type=int, default=100000, help="random strings for each tokenizer")
    parser.add_argument("--lines", type=int, default=None, help="at most so many lines of each corpus")
    parser.add_argument("--seeds", type=int, default=3, help="how many tokenizers of each kind are trained")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", action="append", help="only these")
    parser.add_argument("--every-character", action="store_true", help="instead of random strings, all of Unicode")
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]  # where the reference does not come back, it takes all memory
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30 if hard == resource.RLIM_INFINITY else min(16 << 30, hard), hard))
    assets = pathlib.Path(os.environ["LOWRANK_ASSETS"])
    texts = corpora(assets)
    documents = [text for name, text in texts.items() if "corpora" in name and "tinystories" not in name]
    words = sorted(set(" ".join(documents).split()))
    rng = random.Random(options.seed)
    strings = list(every_character()) if options.every_character else [
        random_string(rng, words, documents) for _ in range(options.count)]
    lines = [] if options.every_character else [line for text in texts.values() for line in text.splitlines()[:options.lines]]
    print(f"tokenizers {tokenizers.__version__}, {len(strings)} strings, {len(lines)} lines of {len(texts)} corpora, seed {options.seed}")
    wrong = compared = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        for name in options.kind or kinds():
            for seed in range(options.seed, options.seed + options.seeds):
                wrong += check(f"{name} {seed}", train(name, seed, documents), folder, strings + lines, options.count, rng, options.tool)
                compared += 1
        for path in [] if options.kind else sorted((assets / "tokenizers").glob("*/tokenizer.json")):
            tokenizer = Tokenizer.from_file(str(path))
            tokenizer.no_truncation()
            tokenizer.no_padding()
            wrong += check(path.parent.name, tokenizer, folder, strings + lines, options.count, rng, options.tool)
            compared += 1
    print(f"{compared} tokenizers, {wrong} differences")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
