#!/usr/bin/env python3
"""Writes tests/goldens/tokenizer: what PyPI tokenizers and sentencepiece give, for tests that run without Python.

components.json     small tokenizer.json files, each with one normalizer, pre-tokenizer, decoder ..., texts and ids
sentencepiece.json  texts and ids of the SentencePiece models under $LOWRANK_ASSETS (legacy Llama: one space before)
"""
import json
import os
import pathlib
import sys

import sentencepiece
from tokenizers import Tokenizer

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
    cases = []
    for name, tokenizer in made.items():
        reference = Tokenizer.from_str(json.dumps(tokenizer))
        vocabulary = tokenizer["model"]["vocab"]
        lines = []
        for text in TEXTS:
            ids = reference.encode(text).ids
            odd = ids[1::2] + [len(vocabulary) + 50] + ids[::3]
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
        if model["merges"] == merges:
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


def main():
    out = pathlib.Path(__file__).resolve().parents[1] / "goldens" / "tokenizer"
    out.mkdir(parents=True, exist_ok=True)
    write = lambda name, value: (out / name).write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")
    write("components.json", components())
    if "LOWRANK_ASSETS" not in os.environ:
        sys.exit("LOWRANK_ASSETS is unset: sentencepiece.json was not written")
    write("sentencepiece.json", sentencepieces(pathlib.Path(os.environ["LOWRANK_ASSETS"])))


if __name__ == "__main__":
    main()
