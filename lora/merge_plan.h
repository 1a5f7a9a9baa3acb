// Which tensors of a model's files an adapter changes, and their merged values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

struct MergePlan {
  formats::WeightFiles weights;
  std::map<std::string, LoraMatrices> changed;  // tensor name -> what is added to it
  std::uint64_t bytes = 0;                    // of all tensors
};

/// Opens the model's files and finds every adapted weight in them. ModelError when one is missing or has another shape
/// or an integer type, when the head is tied to the embedding, or a matrix of the adapter is not finite.
MergePlan plan_merge(const std::filesystem::path& model, const Adapter& adapter);

/// The merged tensor's bytes, in blocks of whole rows from the first to the last; block(offset in bytes, bytes).
/// ModelError when a sum is not finite (an F16 overflow, say).
void for_merged_blocks(const formats::WeightFiles::Entry& entry, const LoraMatrices& lora,
                       const std::function<void(std::uint64_t, std::span<const std::byte>)>& block);

}  // namespace lowrank::lora
