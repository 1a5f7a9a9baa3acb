#!/usr/bin/env python3
"""Peak memory (VmHWM) with and without recomputation: the 135M shape of bench.py in fp32, 2 x 512 tokens, 3 steps each.

    python bench/memory.py [--lowrank build/bin/lowrank]
"""
import argparse
import tempfile
from pathlib import Path

from bench import ROOT, make_model, run_lowrank


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lowrank", default=str(ROOT / "build/bin/lowrank"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lowrank-memory-") as name:
        folder = Path(name)
        make_model(folder, "float32", "135M")
        peaks = {how: run_lowrank(arguments.lowrank, folder, "float32", 3, 0, 2, ["--recompute", how])["peak"] for how in ("none", "layer")}
    for how, peak in peaks.items():
        print(f"--recompute {how:5}  {peak / 1e9:.2f} GB")
    print(f"ratio {peaks['layer'] / peaks['none']:.2f}")


if __name__ == "__main__":
    main()
