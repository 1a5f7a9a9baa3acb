"""Writes tests/goldens/formats/reference.safetensors with the reference writer (safetensors, from PyPI).

The C++ tests build the same tensors and metadata and must write the same bytes. Element k of a tensor's bytes is
(7 * k + 3 * ordinal) mod 251, ordinal being the tensor's place in TENSORS; a Boolean is its lowest bit.
"""

import pathlib

import torch
from safetensors.torch import save_file

TENSORS = [
    ("model.layers.1.weight", torch.float32, (3, 5)),
    ("model.layers.0.weight", torch.float32, (2, 2, 2)),
    ("b16", torch.bfloat16, (7,)),
    ("h16", torch.float16, (1, 3)),
    ("f64", torch.float64, (2,)),
    ("i64", torch.int64, (3,)),
    ("i32", torch.int32, (1,)),
    ("i16", torch.int16, (3,)),
    ("u16", torch.uint16, (1,)),
    ("u32", torch.uint32, (1,)),
    ("u64", torch.uint64, (1,)),
    ("i8", torch.int8, (5,)),
    ("u8", torch.uint8, (3,)),
    ("flag", torch.bool, (3,)),
    ("e5", torch.float8_e5m2, (2,)),
    ("e4", torch.float8_e4m3fn, (3,)),
    ("scalar", torch.float32, ()),
    ("empty", torch.float32, (0, 4)),
    ('odd "name" é\\\x01\n\t/\x7f漢', torch.uint8, (2,)),
]


def tensor(ordinal, dtype, shape):
    size = torch.empty(0, dtype=dtype).element_size() * torch.Size(shape).numel()
    data = bytes((7 * k + 3 * ordinal) % 251 for k in range(size))
    if dtype == torch.bool:
        data = bytes(b & 1 for b in data)
    if size == 0:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)


if __name__ == "__main__":
    out = pathlib.Path(__file__).parents[1] / "goldens" / "formats"
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor(i, dtype, shape) for i, (name, dtype, shape) in enumerate(TENSORS)}
    save_file(tensors, out / "reference.safetensors", metadata={"format": "pt"})
    save_file({"a": tensor(0, torch.uint8, (3,))}, out / "no_metadata.safetensors")
