#!/usr/bin/env python3
"""Writes data/tokenizer/unicode_tables.cpp: what PyPI tokenizers holds every character to be.

Each class is measured, by running the reference over all code points, so that the tables are right by definition:
Oniguruma's (the patterns of Split and Replace; Unicode 16 in 0.23), Rust's (Digits, Lowercase), and those of older crates
(Punctuation, BertNormalizer, StripAccents, UnicodeScripts), which each know another version of Unicode. Only the names of
scripts come from elsewhere, the PyPI package regex. Takes some minutes.

    pip install tokenizers==0.23.3 regex==2025.9.18 && scripts/make_unicode_tables.py
"""
import pathlib
import struct

import regex._regex_core
import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, POINTS))
AMONG_A = "".join("a" + chr(c) for c in POINTS)
PLAIN = [(0x3400, 0xA000), (0xAC00, 0xD7A4), (0x12000, 0x1D000)]  # ideographs, Hangul, old scripts: nothing to join
CATEGORIES = ("Cn Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co").split()


def matching(pattern):
    """All characters that an expression matches."""
    pieces = pre_tokenizers.Split(Regex(pattern), "removed", invert=True).pre_tokenize_str(ALL)
    return {POINTS[i] for _, (begin, end) in pieces for i in range(begin, end)}


def numbered(names, spelling):
    """Which of the classes each character belongs to (0 for none), found in as many passes as the numbers have bits."""
    number = dict.fromkeys(POINTS, 0)
    for bit in range(len(names).bit_length()):
        for c in matching("[" + "".join(spelling(n) for i, n in enumerate(names) if i >> bit & 1) + "]"):
            number[c] |= 1 << bit
    return number


def delimiters(pre_tokenizer):
    """Characters that a pre-tokenizer parts from a letter before and after."""
    pieces = pre_tokenizer.pre_tokenize_str(AMONG_A)
    return {POINTS[begin // 2] for _, (begin, end) in pieces if end - begin == 1 and begin % 2}


def changed(normalizer):
    return {c: out for c in POINTS if (out := normalizer.normalize_str(chr(c))) != chr(c)}


def charsmap(key, value):
    """A Precompiled charsmap (Darts' double array) that maps one text to another."""
    units = [0] * 2048
    units[0] = 256 << 10
    base = 256
    for i, byte in enumerate(key.encode()):
        place, base = base ^ byte, base + 256
        units[place] = byte | (place ^ base) << 10
    units[place] |= 1 << 8  # a key ends here: its value (an offset into the texts) stands at the next base
    table = struct.pack(f"<{len(units)}I", *units)
    return normalizers.Precompiled(struct.pack("<I", len(table)) + table + value.encode() + b"\0")


def graphemes():
    """1: joins what is before it, 2: what comes after it, 3: is joined by ZWJ, 4: joins nothing. (The reference
    looks at no cluster of six bytes and more as a whole, so that no other rule matters.)"""
    kind = {}
    letter, copyright_sign = charsmap("a", "b"), charsmap("\u00a9", "b")
    for c in POINTS:
        x = chr(c)
        if letter.normalize_str("a" + x) == "b":  # one cluster, of which the charsmap took the first
            kind[c] = 1
        elif copyright_sign.normalize_str("\u00a9\u200d" + x) == "b\u200d" + x:  # one, too long for the charsmap
            kind[c] = 3
        elif c < 0x20000 and not any(first <= c < last for first, last in PLAIN):
            itself = charsmap(x, "b")
            if itself.normalize_str(x + "a") == "b":
                kind[c] = 2
            elif len(x.encode()) < 4 and itself.normalize_str(x + "\u0301") != "b":
                kind[c] = 4
    return kind


def split_scripts(script):
    """The scripts that UnicodeScripts tells apart, numbered as in `script`; 0 is at home in all of them."""
    splitter = pre_tokenizers.UnicodeScripts()

    def together(a, b):
        return len(splitter.pre_tokenize_str(a + b)) == 1

    kind, examples = {}, {}
    for c in POINTS:
        if c == 32 or together("a", chr(c)) and together("\u044f", chr(c)):
            continue
        candidates = [script[c]] + [s for s in examples if s != script[c]]
        kind[c] = next((s for s in candidates if s in examples and together(examples[s], chr(c))), script[c])
        examples.setdefault(kind[c], chr(c))
    return kind


def runs(values):
    """(first, value) wherever the value changes, from 0 on; a character that is not in `values` has 0."""
    out, last = [], None
    for c in range(0x110000):
        value = values.get(c, 0)
        if value != last:
            out.append(c << 8 | value)
            last = value
    return out


def ranges(points):
    out = []
    for c in sorted(points):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return [end for pair in out for end in pair]


def mappings(table):
    """first, count, stride, difference: as many characters of one stride as lie that far from their images."""
    out = []
    for c in sorted(table):
        difference = (ord(table[c]) - c) & 0xFFFFFFFF
        if out:
            first, count, stride, before = out[-1]
            step = c - (first + (count - 1) * stride)
            if before == difference and (count == 1 and step <= 2 or step == stride):
                out[-1] = [first, count + 1, step, before]
                continue
        out.append([c, 1, 1, difference])
    return [x for entry in out for x in entry]


def array(name, numbers, comment):
    lines, line = [], " "
    for n in numbers:
        item = f" {n:#x},"
        if len(line) + len(item) > 118:
            lines.append(line)
            line = " "
        line += item
    lines.append(line)
    body = "\n".join(lines)
    return f"// {comment}\nconst std::uint32_t {name}Data[] = {{\n{body}\n}};\n"


def main():
    scripts = {}
    for name, index in regex._regex_core.PROPERTIES["SCRIPT"][1].items():
        try:
            Regex(r"\p{%s}" % name)
        except Exception:  # a script of a later Unicode
            continue
        scripts.setdefault(index, []).append(name.lower())
    scripts = [sorted(s, key=len) for s in scripts.values()]  # the short name, then the long ones
    scripts.sort(key=lambda s: (s[0] != "zzzz", s))           # 0: no script
    category = numbered(CATEGORIES, lambda n: r"\p{%s}" % n)
    script = numbered([s[0] for s in scripts], lambda n: r"\p{%s}" % n)

    def of(*groups):
        return {c for c in POINTS if CATEGORIES[category[c]].startswith(groups)}

    ascii_punctuation = {c for c in range(33, 127) if not chr(c).isalnum()}
    lower = changed(normalizers.Lowercase())
    assert {c for c in lower if len(lower[c]) != 1} == {0x130}  # the one character whose lower case is two
    clean = changed(normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False,
                                               lowercase=False))
    bare = changed(normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True,
                                              lowercase=False))
    accents = changed(normalizers.StripAccents())
    white = {9, 10, 13}
    tables = [
        ("kCategories", runs(category), "Where the general category changes: first character << 8 | Category."),
        ("kScripts", runs(script), "Where the script changes: first character << 8 | place in kScriptNames."),
        ("kAlphabeticToo", ranges(matching(r"\p{Alphabetic}") - of("L", "Nl")), "Alphabetic, but not L or Nl."),
        ("kLowercaseToo", ranges(matching(r"\p{Lowercase}") - of("Ll")), "Lowercase, but not Ll."),
        ("kUppercaseToo", ranges(matching(r"\p{Uppercase}") - of("Lu")), "Uppercase, but not Lu."),
        ("kNumericChanges", ranges(delimiters(pre_tokenizers.Digits(True)) ^ of("N")), "Where Digits differs from N."),
        ("kPunctuationChanges", ranges(delimiters(pre_tokenizers.Punctuation()) ^ (of("P") | ascii_punctuation)),
         "Where Punctuation differs from P and ASCII's."),
        ("kMarkChanges", ranges({c for c in accents if not accents[c]} ^ of("M")), "Where StripAccents differs from M."),
        ("kNonspacingChanges", ranges({c for c in bare if not bare[c]} ^ of("Mn")),
         "Where BertNormalizer's strip_accents differs from Mn."),
        ("kControlChanges", ranges(({c for c in clean if not clean[c]} | white) ^ of("Cc", "Cf", "Co")),
         "Where BertNormalizer's clean_text differs from Cc, Cf, Co."),
        ("kLowerMap", mappings({c: out for c, out in lower.items() if c != 0x130}),
         "Lowercase: first, count, stride, difference (modulo 2^32)."),
        ("kSplitScripts", runs(split_scripts(script)), "Where UnicodeScripts sees another script: as kScripts."),
        ("kGraphemes", runs(graphemes()), "Where GraphemeClass changes: first character << 8 | class."),
    ]
    text = (f"// Written by scripts/make_unicode_tables.py: measured over all characters in PyPI tokenizers "
            f"{tokenizers.__version__}.\n"
            '#include "lowrank/data/tokenizer/unicode_tables.h"\n\nnamespace lowrank::data::unicode {\n\n'
            "namespace {\n\n// clang-format off\n\n")
    text += "\n".join(array(*table) for table in tables)
    names = ",\n".join('    "' + " ".join(s) + '"' for s in scripts)
    text += f"\n// The names of each script, in lower case and without _.\nconst char* const kScriptNamesData[] = {{\n{names},\n}};\n"
    text += "\n// clang-format on\n\n}  // namespace\n\n"
    for name, _, _ in tables:
        text += f"const std::span<const std::uint32_t> {name}(  // NOLINT\n    {name}Data);\n".replace("(  // NOLINT\n    ", "(")
    text += "const std::span<const char* const> kScriptNames(kScriptNamesData);\n\n}  // namespace lowrank::data::unicode\n"
    out = pathlib.Path(__file__).resolve().parents[1] / "data" / "tokenizer" / "unicode_tables.cpp"
    out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
