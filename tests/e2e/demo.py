#!/usr/bin/env python3
"""The demo learns the subject, not only its words.

    demo.py LOWRANK

Held-out art-history perplexity falls to at most 0.8 of the base's; the same fine-tune on the same text with its words
shuffled gains less than half as much; no 13-word run of the held-out file stands in the training text.
"""
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
RUN = 13


def words(text):
    return re.findall(r"\w+", text.lower())


def runs(text):
    w = words(text)
    return {tuple(w[i:i + RUN]) for i in range(len(w) - RUN + 1)}


def perplexities(lowrank, data, out):
    """Held-out perplexity before and after the demo's fine-tune on `data`."""
    script = (EXAMPLES.parent / "scripts" / "demo.sh").read_text()
    options = re.search(r"--seq-len .*", script).group().split()
    subprocess.run([lowrank, "finetune", EXAMPLES / "base", "--data", data, "--val-data", EXAMPLES / "art-history" / "heldout.txt",
                    "--out", out, "--quiet", *options], check=True)
    done = subprocess.run([lowrank, "evaluate", EXAMPLES / "base", "--adapter", out, "--data", EXAMPLES / "art-history" / "heldout.txt",
                           "--seq-len", "256", "--json"], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    return result["base"]["perplexity"], result["perplexity"]


def main():
    lowrank = pathlib.Path(sys.argv[1]).resolve()
    train = sorted((EXAMPLES / "art-history" / "train").iterdir())
    shared = runs((EXAMPLES / "art-history" / "heldout.txt").read_text()) & set().union(*(runs(p.read_text()) for p in train))
    if shared:
        sys.exit(f"the held-out file shares a run of {RUN} words with the training text: {' '.join(shared.pop())}")

    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "shuffled").mkdir()
        for path in train:
            tokens = path.read_text().split()
            random.Random(path.name).shuffle(tokens)
            (work / "shuffled" / path.name).write_text(" ".join(tokens))
        base, tuned = perplexities(lowrank, EXAMPLES / "art-history" / "train", work / "text")
        _, shuffled = perplexities(lowrank, work / "shuffled", work / "words")
    print(f"held-out perplexity: base {base:.2f}, fine-tuned {tuned:.2f} ({tuned / base:.3f}), on shuffled words {shuffled:.2f}")
    if tuned > 0.8 * base:
        sys.exit("the fine-tune leaves more than 0.8 of the base's perplexity")
    if base - shuffled >= 0.5 * (base - tuned):
        sys.exit("shuffled words gain half as much or more: the demo learns words, not the subject")


if __name__ == "__main__":
    main()
