#include "lowrank/models/dtype.h"

#include <fmt/format.h>

#include <array>
#include <map>

#include "lowrank/core/error.h"
#include "lowrank/kernels/runtime.h"

namespace lowrank::models {
namespace {

using formats::DType;

// The dtype of most bytes; every tensor must be a float that we read.
DType file_dtype(const formats::WeightFiles& weights) {
  std::map<DType, std::uint64_t> bytes;
  for (const std::string& name : weights.names()) {
    const auto* entry = weights.find(name);
    const DType dtype = entry->info->dtype;
    if (dtype != DType::kBF16 && dtype != DType::kF16 && dtype != DType::kF32 && dtype != DType::kF64) {
      // Integer buffers (position ids, masks) of old checkpoints are passed over later; weights of these are quantised.
      if (!name.ends_with(".weight")) continue;
      throw ModelError(
          fmt::format("{}: tensor '{}' is {}; expected BF16, F16 or F32 weights (a quantised model must be "
                      "dequantised first)",
                      entry->file->path().string(), name, formats::dtype_name(dtype)));
    }
    bytes[dtype] += entry->info->end - entry->info->begin;
  }
  DType most = DType::kF32;
  std::uint64_t largest = 0;
  for (const auto& [dtype, count] : bytes) {
    if (count > largest) std::tie(most, largest) = std::pair(dtype, count);
  }
  return most;
}

}  // namespace

DTypeDecision choose_dtype(DTypeChoice choice, const formats::WeightFiles& weights, at::Device device) {
  const DType file = file_dtype(weights);
  if (choice == DTypeChoice::kFloat32) return {at::kFloat, "as asked for"};
  if (choice == DTypeChoice::kBFloat16) return {at::kBFloat16, "as asked for"};
  if (file != DType::kBF16) {
    return {at::kFloat, fmt::format("the weights are {}", formats::dtype_name(file))};
  }
  if (!device.is_cpu()) return {at::kBFloat16, "the weights are BF16"};
  if (kernels::computes_bf16()) return {at::kBFloat16, "the weights are BF16 and this CPU computes it"};
  return {at::kFloat, "the weights are BF16, but this CPU has no fast bf16 instructions"};
}

std::string dtype_name(at::ScalarType dtype) { return dtype == at::kBFloat16 ? "bfloat16" : "float32"; }

}  // namespace lowrank::models
