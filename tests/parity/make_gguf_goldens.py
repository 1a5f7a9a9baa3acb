"""Writes formats/reference.gguf with PyPI gguf: values, and tensors in every type that its quantiser makes of them.

The C++ tests read the file, make the same bytes of "x", and the same numbers of those bytes ("x.TYPE.values").
"""
import argparse
import pathlib

import gguf
import numpy as np

TYPES = {"f16": gguf.GGMLQuantizationType.F16, "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
         "q4_0": gguf.GGMLQuantizationType.Q4_0}


def values():
    """Rows of 64: weights, an empty block, blocks whose greatest value is negative, or there twice with both signs, ties between two
    numbers, values below F16's, and its largest."""
    generator = np.random.default_rng(7)
    x = generator.normal(0, 0.05, (12, 64)).astype(np.float32)
    x[1, :32] = 0
    x[2, 3], x[2, 40] = -1.25, 1.25
    x[3, 5], x[3, 6] = 0.75, -0.75
    x[4] = np.linspace(-127, 127, 64)
    x[5, :32] = np.arange(32) - 15.5
    x[6] = 1e-7 * x[6]
    x[7] = 1e3 * x[7]
    x[8, 0], x[8, 1] = 65504, -65504
    x[9] = np.float32(1) + np.arange(64, dtype=np.float32) * np.float32(2.0**-12)
    x[10] = (np.arange(64) - 32) / np.float32(8)
    x[11] = np.float32(6e-8) * np.arange(64)
    return x


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[1] / "goldens" / "formats")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(folder / "reference.gguf", "llama")
    writer.add_uint32("a.number", 7)
    writer.add_int8("a.small", -3)
    writer.add_uint64("a.long", 1 << 40)
    writer.add_float32("a.real", 0.5)
    writer.add_bool("a.truth", True)
    writer.add_string("a.text", "Größe")
    writer.add_array("a.texts", ["one", "", "three"])
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_array("a.reals", [0.25, -1.5])
    writer.add_array("a.truths", [True, False, True])
    x = values()
    writer.add_tensor("x", x)
    for name, kind in TYPES.items():
        data = gguf.quants.quantize(x, kind)
        writer.add_tensor(f"x.{name}", data, raw_dtype=kind)
        writer.add_tensor(f"x.{name}.values", gguf.quants.dequantize(data, kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
