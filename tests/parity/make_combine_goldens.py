#!/usr/bin/env python3
"""Writes tests/goldens/lora/combine.json: what PEFT's merge_utils make of small matrices, for the tests of lora/.

    make_combine_goldens.py [--out tests/goldens/lora]
"""
import argparse
import json
import pathlib

import torch
from peft.utils import merge_utils

SEED = 11
WEIGHTS = [0.7, -0.4, 1.3]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "lora")
    out = parser.parse_args().out
    torch.manual_seed(1)
    tensors = [torch.randn(5, 7) for _ in WEIGHTS]
    weights, rows = torch.tensor(WEIGHTS), []
    for method, density, sign in [("linear", 1, "total"), ("ties", 0.4, "total"), ("ties", 0.4, "frequency"), ("ties", 1, "total"),
                                  ("dare_linear", 0.6, "total"), ("dare_ties", 0.6, "total"), ("dare_ties", 0.6, "frequency"),
                                  ("magnitude_prune", 0.3, "total")]:
        torch.manual_seed(SEED)
        arguments = [tensors, weights] + ([] if method == "linear" else [density]) + ([sign] if method.endswith("ties") else [])
        made = getattr(merge_utils, "task_arithmetic" if method == "linear" else method)(*arguments)
        rows.append({"method": method, "density": density, "by_frequency": sign == "frequency", "result": made.flatten().tolist()})
    record = {"seed": SEED, "shape": [5, 7], "weights": WEIGHTS, "tensors": [t.flatten().tolist() for t in tensors], "rows": rows}
    (out / "combine.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
