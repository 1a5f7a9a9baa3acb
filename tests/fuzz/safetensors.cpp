// Headers of tensor files: what is accepted lies inside the file, side by side.
#include <span>

#include "fuzz.h"
#include "lowrank/formats/safetensors.h"

LOWRANK_FUZZ_TARGET(safetensors) {
  const auto header = lowrank::formats::parse_safetensors(std::as_bytes(std::span(input)), "x.safetensors");
  std::uint64_t end = 0;
  for (const auto& tensor : header.tensors) {
    if (tensor.begin != end || tensor.end < tensor.begin) lowrank_fuzz::broken("tensors with a gap: " + tensor.name);
    if (tensor.end - tensor.begin != lowrank::formats::tensor_bytes(tensor.dtype, tensor.shape)) {
      lowrank_fuzz::broken("a tensor of other bytes than its shape's: " + tensor.name);
    }
    end = tensor.end;
  }
  if (header.data_start + end != input.size()) lowrank_fuzz::broken("bytes that are no tensor's");
}
