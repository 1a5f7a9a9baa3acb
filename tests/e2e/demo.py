#!/usr/bin/env python3
"""The demo learns the subject, not only its words.

    demo.py LOWRANK

Held-out art-history perplexity falls to at most 0.8 of the base's; the same fine-tune on the same text with its words
shuffled gains less than half as much, in nats; no 13-word run of the held-out file stands in the training text.
"""
import json
import math
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


def losses(lowrank, data, out):
    """Held-out loss in nats a token before and after the demo's fine-tune on `data`."""
    script = (EXAMPLES.parent / "scripts" / "demo.sh").read_text()
    options = re.search(r"--seq-len .*", script).group().split()
    subprocess.run([lowrank, "finetune", EXAMPLES / "base", "--data", data, "--val-data", EXAMPLES / "art-history" / "heldout.txt",
                    "--out", out, "--quiet", *options], check=True)
    done = subprocess.run([lowrank, "evaluate", EXAMPLES / "base", "--adapter", out, "--data", EXAMPLES / "art-history" / "heldout.txt",
                           "--seq-len", "256", "--json"], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    return result["base"]["nll"], result["nll"]


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
        base, tuned = losses(lowrank, EXAMPLES / "art-history" / "train", work / "text")
        _, shuffled = losses(lowrank, work / "shuffled", work / "words")
    ratio = math.exp(tuned - base)
    print(f"held-out nats a token: base {base:.4f}, fine-tuned {tuned:.4f} (perplexity {ratio:.3f} of the base's), "
          f"on shuffled words {shuffled:.4f} ({(base - shuffled) / (base - tuned):.0%} of the gain)")
    if ratio > 0.8:
        sys.exit("the fine-tune leaves more than 0.8 of the base's perplexity")
    if base - shuffled >= 0.5 * (base - tuned):
        sys.exit("shuffled words gain half as much or more: the demo learns words, not the subject")


if __name__ == "__main__":
    main()
