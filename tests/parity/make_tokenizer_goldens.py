#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer: what PyPI tokenizers and sentencepiece give, for tests that run without Python.

components.json     small tokenizer.json files, each with one normalizer, pre-tokenizer, decoder ..., texts and ids
tiktoken.json       a small vocabulary of byte strings, texts, and the ranks that PyPI tiktoken gives
sentencepiece.json  texts and ids of the SentencePiece models under $LOWRANK_ASSETS (legacy Llama: one space before)
"""
import base64
import io
import json
import os
import pathlib
import sys
import tempfile

import sentencepiece
import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

TEXTS = ["", " ", "a", "Hello world", "  Hello,  world!! 12345 ", "it's we'LL they\u017fs", "caf\u00e9 cafe\u0301 \ufb01 \u212b \u0130I\u00df",
         "a-b--c...d", "12 345 6\u00bd\u2167", "x\t\ny\r\n\r\n z", "\u4e2d\u6587 \u65e5\u672c \U0001f642\U0001f642", "\u2581a \u2581\u2581b", "<s>a</s> b <x>  c<x>",
         "foo bar foobar barfoo", "A_b a\u0301\u0316 \u1112\u1161\u11ab", "<0x41>\ufffd\x00\x7f", "aaaaaaa aaaaaaaa", "   a   <x>   b", "unx xun"]


def base(**parts):
    characters = sorted(set("".join(TEXTS)) | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!'-_") |
                        set("\u2581\u0120\u00c3\u00a9\u010a"))
    characters = [c for c in characters if c not in "\U0001f642\u65e5\u672c"]           # so that there are unknown ones
    tokens = ["<unk>", "<s>", "</s>"] + characters
    merges = [("a", "a"), ("aa", "aa"), ("f", "o"), ("fo", "o"), ("b", "a"), ("ba", "r"), ("o", "o"), ("l", "l"), ("\u2581", "a"),
              ("foo", "bar"), ("1", "2"), ("12", "3"), (" ", "a"), ("\u0120", "w"), ("a", "aa")]
    for left, right in merges:
        if left + right not in tokens:
            tokens.append(left + right)
    for token in ["<x>", "foo ba"]:
        tokens.append(token)
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
             "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [" ".join(m) if " " not in m else list(m) for m in merges]}
    if any(" " in m for m in merges):
        model["merges"] = [list(m) for m in merges]
    model.update(parts.pop("model", {}))
    special = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    added = [dict(id=i, content=tokens[i], **special) for i in range(3)]
    next_id = len(model["vocab"])
    for token in parts.pop("added", []):
        token = {**special, **token, "id": model["vocab"].get(token["content"], next_id)}
        next_id += token["id"] == next_id
        added.append({k: token[k] for k in ["id", "content", *special]})
    result = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
              "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model}
    result.update(parts)
    return result


def byte_vocabulary():
    extra = base()["model"]["vocab"]
    tokens = list(extra) + [f"<0x{b:02X}>" for b in range(256)]
    return {t: i for i, t in enumerate(tokens)}


def charsmap():
    """A small precompiled charsmap, made by sentencepiece from rules of our own: it maps, shortens, lengthens, removes."""
    rules = {"A": "a", "\u00e9": "e", "e\u0301": "E", "\ufb01": "fi", "\t": " ", "\r": "x", "\u212b": "", "\u0130": "i\u0307"}
    with tempfile.TemporaryDirectory() as folder:
        tsv = pathlib.Path(folder) / "rules.tsv"
        code = lambda text: " ".join(f"{ord(c):X}" for c in text)
        tsv.write_text("".join(f"{code(a)}\t{code(b)}\n" for a, b in rules.items()), encoding="utf-8")
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d e f g h"] * 20), model_writer=model,
                                                 vocab_size=13, normalization_rule_tsv=str(tsv), minloglevel=2)
    return fields(fields(model.getvalue())[3])[2]  # ModelProto.normalizer_spec.precompiled_charsmap


def fields(message):
    """The last value of each field of a protocol buffer's message."""
    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    at, out = 0, {}
    while at < len(message):
        tag = varint()
        size = {0: 0, 1: 8, 5: 4}.get(tag & 7)
        if tag & 7 == 0:
            out[tag >> 3] = varint()
            continue
        size = varint() if size is None else size
        out[tag >> 3] = message[at:at + size]
        at += size
    return out


def more_components(made, sequence, replace):
    for kind in ["StripAccents", "Nmt", "ByteLevel"]:
        made[f"normalizer {kind}"] = base(normalizer={"type": kind})
    for clean, chinese, strip, lower in [(True, True, None, True), (True, False, None, False), (False, True, True, False),
                                         (False, False, False, True)]:
        made[f"BertNormalizer {clean} {chinese} {strip} {lower}"] = base(normalizer={
            "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip,
            "lowercase": lower})
    made["Precompiled"] = base(normalizer={"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap()).decode()})
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": False}
    made["Strip before Metaspace"] = base(normalizer={"type": "Strip", "strip_left": True, "strip_right": True},
                                          pre_tokenizer=metaspace)
    made["Nmt before Metaspace"] = base(normalizer={"type": "Nmt"}, pre_tokenizer=metaspace)
    for kind in [{"type": "BertPreTokenizer"}, {"type": "UnicodeScripts"}, {"type": "CharDelimiterSplit", "delimiter": "-"},
                 {"type": "FixedLength", "length": 3}]:
        made[kind["type"]] = base(pre_tokenizer=kind)
    for pattern in [r"[a-z&&[^aeiou]]+|[[:upper:]0-9]+", r"\p{Lu}?[\p{Ll}\p{M}]+|\p{Han}|[\W]", r"\b\w|\R|[^\W\d]\Z",
                    "(?x: a+ # letters\n | \\s )|(?>b|ba)r?", r"(?i:'(?:[sdmt]|ll|ve|re))|.$"]:
        made[f"Split {pattern}"] = base(pre_tokenizer={
            "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False})
    words = {"type": "WhitespaceSplit"}
    suffixed = list(base()["model"]["vocab"]) + ["a</w>", "o</w>", "r</w>", "ar</w>", "foo</w>", "bar</w>", "d</w>"]
    made["end_of_word_suffix"] = base(
        model={"vocab": {t: i for i, t in enumerate(suffixed)}, "end_of_word_suffix": "</w>",
               "merges": [["f", "o"], ["a", "r</w>"], ["fo", "o</w>"], ["b", "ar</w>"]]},
        pre_tokenizer=words, decoder={"type": "BPEDecoder", "suffix": "</w>"})
    prefixed = list(base()["model"]["vocab"]) + ["##" + c for c in "abcdefghijklmnopqrstuvwxyz"] + ["##ar", "foo", "##ob"]
    vocab = {t: i for i, t in enumerate(dict.fromkeys(prefixed))}
    made["continuing_subword_prefix"] = base(
        model={"vocab": vocab, "continuing_subword_prefix": "##", "merges": [["f", "##o"], ["##a", "##r"], ["fo", "##o"], ["b", "##ar"]]},
        pre_tokenizer=words, decoder={"type": "WordPiece", "prefix": "##", "cleanup": False})
    for clean in [True, False]:
        made[f"WordPiece {clean}"] = with_model({"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##",
                                                 "max_input_chars_per_word": 10, "vocab": vocab},
                                                {"type": "WordPiece", "prefix": "##", "cleanup": clean}, {"type": "BertPreTokenizer"})
    made["WordLevel"] = with_model({"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab}, None, {"type": "Whitespace"})
    made["CTC"] = with_model({"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab},
                             {"type": "CTC", "pad_token": "<s>", "word_delimiter_token": "a", "cleanup": True},
                             {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False})
    scored = [["<unk>", 0.0], ["<s>", 0.0], ["</s>", 0.0]] + [[t, -1.5 - 0.25 * (i % 7) - 1.5 * (len(t) == 1)]
                                                            for i, t in enumerate(vocab) if i > 2]
    for fallback in [False, True]:
        pieces = scored + [[f"<0x{b:02X}>", -9.0] for b in range(256)] * fallback
        made[f"Unigram {fallback}"] = with_model({"type": "Unigram", "unk_id": 0, "byte_fallback": fallback, "vocab": pieces},
                                                 {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True},
                                                 {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True})
    for kind in ["BertProcessing", "RobertaProcessing"]:
        extra = {"trim_offsets": True, "add_prefix_space": True} if kind == "RobertaProcessing" else {}
        made[kind] = base(post_processor={"type": kind, "sep": ["</s>", 2], "cls": ["<s>", 1], **extra})
    made["added token, normalised to another text"] = base(
        added=[dict(content="FOO B", normalized=True, special=False), dict(content="\u00c9", normalized=True)],
        normalizer=sequence("normalizers", {"type": "Lowercase"}, replace({"String": "b"}, "##")),
        decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True})


def with_model(model, decoder, pre_tokenizer):
    made = base(decoder=decoder, pre_tokenizer=pre_tokenizer)
    made["model"] = model
    return made


def components():
    sequence = lambda key, *steps: {"type": "Sequence", key: list(steps)}
    replace = lambda pattern, content: {"type": "Replace", "pattern": pattern, "content": content}
    made = {}
    for form in ["NFC", "NFD", "NFKC", "NFKD", "Lowercase"]:
        made[f"normalizer {form}"] = base(normalizer={"type": form})
    for left, right in [(True, True), (True, False), (False, True)]:
        made[f"normalizer Strip {left} {right}"] = base(normalizer={"type": "Strip", "strip_left": left, "strip_right": right})
    made["normalizer Prepend, Replace"] = base(normalizer=sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"},
                                                                   replace({"String": " "}, "\u2581")))
    made["normalizer Replace Regex"] = base(normalizer=replace({"Regex": r"\s+|[0-9]{2,}"}, " "))
    for behavior in ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            made[f"Split Regex {behavior} {invert}"] = base(pre_tokenizer={
                "type": "Split", "pattern": {"Regex": r"[a-c]|\s"}, "behavior": behavior, "invert": invert})
        made[f"Split String {behavior}"] = base(pre_tokenizer={
            "type": "Split", "pattern": {"String": "o"}, "behavior": behavior, "invert": False})
        made[f"Punctuation {behavior}"] = base(pre_tokenizer={"type": "Punctuation", "behavior": behavior})
    for each in [False, True]:
        made[f"Digits {each}"] = base(pre_tokenizer={"type": "Digits", "individual_digits": each})
    for pattern in [r"\w+|\W", r"\h+|\H", r"(?i:foo|\s)+|.", r"\d+|[^\S\n]|(?m:.)", r"(?<=a)a|^x|[[:alpha:]]+", r"\p{^L}|\P{N}{,2}x"]:
        made[f"Split {pattern}"] = base(pre_tokenizer={
            "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False})
    for kind in ["Whitespace", "WhitespaceSplit"]:
        made[kind] = base(pre_tokenizer={"type": kind})
    for prefix in [False, True]:
        for regex in [False, True]:
            made[f"ByteLevel {prefix} {regex}"] = base(
                pre_tokenizer={"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex},
                decoder={"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True})
    for scheme in ["always", "first", "never"]:
        for cut in [False, True]:
            metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}
            made[f"Metaspace {scheme} {cut}"] = base(pre_tokenizer=metaspace, decoder=metaspace)
    made["Digits then ByteLevel"] = base(pre_tokenizer=sequence(
        "pretokenizers", {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}))
    for fuse in [False, True]:
        made[f"fuse_unk {fuse}"] = base(model={"fuse_unk": fuse})
    made["no unk"] = base(model={"unk_token": None})
    made["ignore_merges"] = base(model={"ignore_merges": True}, pre_tokenizer={"type": "WhitespaceSplit"})
    llama = sequence("decoders", replace({"String": "\u2581"}, " "), {"type": "ByteFallback"}, {"type": "Fuse"},
                     {"type": "Strip", "content": " ", "start": 1, "stop": 0})
    made["byte_fallback"] = base(model={"byte_fallback": True, "fuse_unk": True, "vocab": byte_vocabulary()}, decoder=llama)
    for flags in [{}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True},
                  {"normalized": True}, {"special": False}, {"special": False, "normalized": True, "single_word": True}]:
        made[f"added token {flags}"] = base(added=[dict(content="<x>", **flags), dict(content="foo", **flags),
                                                   dict(content="foo bar", **flags), dict(content="  ", **flags)],
                                            normalizer={"type": "Lowercase"})
    one = lambda name, i: {name: {"id": name, "ids": [i], "tokens": [name]}}
    template = {"type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "</s>", "type_id": 0}}],
                "special_tokens": {**one("<s>", 1), **one("</s>", 2)}}
    made["TemplateProcessing"] = base(post_processor=template)
    made["Sequence of post-processors"] = base(post_processor=sequence(
        "processors", {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, template))
    more_components(made, sequence, replace)
    cases = []
    for name, tokenizer in made.items():
        reference = Tokenizer.from_str(json.dumps(tokenizer))
        size = reference.get_vocab_size()
        lines = []
        for text in TEXTS:
            ids = reference.encode(text).ids
            odd = ids[1::2] + [size + 50] + ids[::3]
            lines.append([text, ids, reference.decode(ids, skip_special_tokens=True),
                          odd, reference.decode(odd, skip_special_tokens=False)])
        # The vocabulary is the same in nearly all: only what differs from the first is written.
        cases.append({"name": name, "tokenizer": tokenizer, "lines": lines})
    default = json.dumps(base()["model"]["vocab"])
    merges = base()["model"]["merges"]
    for case in cases:
        model = case["tokenizer"]["model"]
        if json.dumps(model["vocab"]) == default:
            model["vocab"] = "default"
        if model.get("merges") == merges:
            model["merges"] = "default"
    return {"vocab": base()["model"]["vocab"], "merges": merges, "cases": cases}


def sentencepieces(assets):
    models = {"tokenizers/sentencepiece/open_llama_3b.tokenizer.model", "tokenizers/sentencepiece/test_sentencepiece_bpe.model",
              "tokenizers/sentencepiece/test_sentencepiece.model", "models/stories260K-hf/tokenizer.model"}
    pater = (assets / "corpora" / "art-history" / "pater-renaissance.pg2398.txt").read_text(encoding="utf-8")
    texts = [t for t in TEXTS if "<s>" not in t and "\0" not in t] + [pater[20000:20600], "tab\there", "\n", "\u2581"]
    result = []
    for name in sorted(models):
        processor = sentencepiece.SentencePieceProcessor(model_file=str(assets / name))
        result.append({"model": name, "lines": [[t, processor.encode(t)] for t in texts]})
    return result


def tiktokens():
    """A small vocabulary of byte strings as tekken.json and as a tiktoken file, and the ranks that tiktoken gives."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(TEXTS * 3, trainers.BpeTrainer(vocab_size=420, show_progress=False,
                                                                 initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    byte_of = {chr(b): b for b in visible}
    byte_of.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in visible)})
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    tokens = [bytes(byte_of[c] for c in token) for token, _ in vocabulary]
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    pattern = (rf"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+|[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|"
               r"\s*[\r\n]+|\s+(?!\S)|\s+")
    encoding = tiktoken.Encoding("golden", pat_str=pattern, special_tokens={},
                                 mergeable_ranks={token: rank for rank, token in enumerate(tokens)})
    names = ["<unk>", "<s>", "</s>", "[INST]"]
    tekken = {"config": {"pattern": pattern, "num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) + 10,
                         "default_num_special_tokens": 10, "version": "v7"},
              "vocab": [{"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
                        for rank, token in enumerate(tokens)],
              "special_tokens": [{"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(names)]}
    lines = "".join(f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens))
    return {"tekken": tekken, "tiktoken": lines,
            "lines": [[text, encoding.encode(text, disallowed_special=())] for text in TEXTS if "<s>" not in text]}


def main():
    out = pathlib.Path(__file__).resolve().parents[1] / "goldens" / "tokenizer"
    out.mkdir(parents=True, exist_ok=True)
    write = lambda name, value: (out / name).write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")
    write("components.json", components())
    write("tiktoken.json", tiktokens())
    if "LOWRANK_ASSETS" not in os.environ:
        sys.exit("LOWRANK_ASSETS is unset: sentencepiece.json was not written")
    write("sentencepiece.json", sentencepieces(pathlib.Path(os.environ["LOWRANK_ASSETS"])))


if __name__ == "__main__":
    main()
