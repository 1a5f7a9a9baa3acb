#!/usr/bin/env python3
"""Encoding speed beside PyPI tokenizers: every corpus of the assets, by paragraphs, with every tokenizer.json there.

Both sides in turn in one run, each in a process of its own; the best of the rounds counts. One thread by the processor's time, which
other programs on the machine do not change; two threads by the clock.

    python bench/tokenizer.py --assets <assets> [--tool build/tests/bench_tokenizer] [--rounds 3] [--tokenizer gpt2]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REFERENCE = """
import json, sys, time, tokenizers
texts = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
begin = time.perf_counter()
tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
tokenizer.no_truncation(); tokenizer.no_padding()
load, seconds, cpu = time.perf_counter() - begin, [], []
for _ in range(int(sys.argv[3])):
    start, start_cpu = time.perf_counter(), time.process_time()
    encoded = tokenizer.encode_batch_fast(texts)
    seconds.append(time.perf_counter() - start)
    cpu.append(time.process_time() - start_cpu)
print(json.dumps({"load": load, "seconds": seconds, "cpu": cpu, "ids": sum(len(e) for e in encoded)}))
"""


def documents(assets: Path) -> list:
    texts = [p.read_text(encoding="utf-8") for p in sorted((assets / "corpora").rglob("*")) if p.suffix in [".txt", ".csv"]]
    return [part for text in texts for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", required=True, type=Path)
    parser.add_argument("--tool", default="build/tests/bench_tokenizer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer", action="append", help="only these of the assets")
    arguments = parser.parse_args()
    texts = documents(arguments.assets)
    size = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} documents, {size / 1e6:.2f} MB")
    with tempfile.TemporaryDirectory() as temporary:
        lines = Path(temporary) / "documents.jsonl"
        lines.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
        for folder in sorted(p.parent for p in (arguments.assets / "tokenizers").glob("*/tokenizer.json")):
            if arguments.tokenizer and folder.name not in arguments.tokenizer:
                continue
            best = {}
            for threads in (1, 2):
                with open(lines, encoding="utf-8") as stdin:
                    ours = subprocess.run([arguments.tool, folder, str(threads), str(arguments.rounds)], stdin=stdin, check=True,
                                          capture_output=True, text=True)
                theirs = subprocess.run([sys.executable, "-c", REFERENCE, folder, lines, str(arguments.rounds)], check=True,
                                        capture_output=True, text=True,
                                        env={**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"})
                ours, theirs = json.loads(ours.stdout), json.loads(theirs.stdout)
                if ours["ids"] != theirs["ids"]:
                    sys.exit(f"{folder.name}: {ours['ids']} ids here, {theirs['ids']} there")
                best[threads] = (ours, theirs)
            one = best[1]
            speed = lambda side, kind, n, round: size / (min(best[n][side][kind]) if round is None else best[n][side][kind][round]) / 1e6
            ours, theirs = speed(0, "cpu", 1, None), speed(1, "cpu", 1, None)
            first = speed(0, "cpu", 1, 0) / speed(1, "cpu", 1, 0)
            two, reference = (speed(side, "seconds", 2, None) / speed(side, "seconds", 1, None) for side in (0, 1))
            print(f"{folder.name:18} {ours:6.2f} MB a second of one thread against {theirs:5.2f}: {ours / theirs:5.2f} times (in the first round "
                  f"{first:5.2f}); two threads {two:4.2f} times one, theirs {reference:4.2f}; loaded in {one[0]['load']:.2f} s "
                  f"against {one[1]['load']:.2f}", flush=True)


if __name__ == "__main__":
    main()
