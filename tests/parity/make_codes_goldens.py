"""Writes tests/goldens/lora/codes.safetensors: weights, and what bitsandbytes' CPU library makes of them.

bitsandbytes (0.50, PyPI) in one thread: NF4 with double quantisation (block 64, the greatest absolute values in 8 bits
by blocks of 256) and LLM.int8's vectorwise form; and what PEFT's LoftQ makes of the rest. Run with an interpreter that has torch, bitsandbytes, peft and safetensors.
"""

import pathlib
import sys

import bitsandbytes.functional as F
import torch
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
from peft.utils import loftq_utils
from safetensors.torch import save_file


def nf4(name, w, out):
    codes, state = F.quantize_4bit(w.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4")
    out[f"{name}.nf4.codes"] = codes.reshape(-1)
    out[f"{name}.nf4.absmax"] = state.absmax
    out[f"{name}.nf4.scales"] = state.state2.absmax
    out[f"{name}.nf4.offset"] = state.offset.reshape(1)
    # By the operator's own definition: the CPU library's kernel for AVX-512 (0.50.2) takes blocks to begin anew in each
    # row, and decodes rows whose length is no multiple of 64 wrongly.
    absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset
    out[f"{name}.nf4.values"] = _dequantize_4bit_compute(codes.reshape(-1), absmax, state.code, 64, w.shape, w.dtype).float()
    if w.shape[1] % 64 == 0:
        assert torch.equal(out[f"{name}.nf4.values"], F.dequantize_4bit(codes, state).float())


def int8(name, w, out):
    codes, scales, _ = torch.ops.bitsandbytes.int8_vectorwise_quant.default(w.float().clone(), 0.0)
    out[f"{name}.int8.codes"] = codes
    out[f"{name}.int8.scales"] = scales
    out[f"{name}.int8.values"] = F.int8_vectorwise_dequant(codes, scales)


def loftq(name, w, rank, out):
    """The decomposition of replace_lora_weights_loftq, which itself asks for a GPU by name."""
    codes, state = F.quantize_4bit(w.contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4")
    parts = loftq_utils._low_rank_decomposition(w.float() - F.dequantize_4bit(codes, state).float(), reduced_rank=rank)
    out[f"{name}.delta"] = parts["L"] @ parts["R"]


def main(folder):
    torch.manual_seed(17)
    torch.set_num_threads(1)
    out = {"second_map": F.create_dynamic_map(), "values": F.get_4bit_type("nf4", "cpu")}
    w = torch.randn(140, 192) * torch.rand(140, 1) * 0.05
    w[3] = 0  # blocks of zeros
    odd = torch.randn(37, 53) * 0.02  # an odd number of values, blocks across rows, a short last one
    for name, weight in {"even": w.bfloat16(), "odd": odd, "transposed": (torch.randn(48, 96) * 0.1).half()}.items():
        out[f"{name}.weight"] = weight
        w = weight.t() if name == "transposed" else weight
        nf4(name, w, out)
        int8(name, w, out)
    base = torch.randn(40, 64) * 0.05
    out["loftq.weight"] = base
    loftq("loftq", base, 4, out)
    target = pathlib.Path(folder) / "codes.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in out.items()}, target)
    print(target, target.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1] / "goldens" / "lora")
