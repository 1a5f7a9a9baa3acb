// Merging an adapter into the model's files, shard by shard, and the proof that it was done right.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

struct MergeReport {
  std::int64_t tensors = 0, changed = 0, elements = 0;  // all tensors; those the adapter changed; elements of all
  std::uint64_t bytes = 0;                              // of the weight files written
  bool untied = false;  // a tied head or embedding was changed, so that both are written, and config.json says so
  std::vector<std::string> files;  // names: weights, index, then what was carried along
};

/// Writes every weight file of `model` to `out`: adapted tensors as round(W + s·B A) with ΔW added in fp32 and rounded
/// once to the file's dtype, trained copies rounded once, others byte for byte; config, tokenizer, chat template and
/// generation config carried along. The same shards and index, but that a tied head parts from the embedding where the
/// adapter changes one of them: then both are stored, and config.json says tie_word_embeddings = false. A few megabytes
/// at a time, so that a model larger than memory can be merged. `out` is made as a staged directory and appears whole,
/// after `last` has been given the folder as it is made (to look at it, and add to it): what that throws ends the merge.
/// The adapter's own tokenizer, chat template and generation_config.json, where its folder has them, stand in for the
/// model's. `dtype`: of every floating-point tensor instead of its own in the files (config.json says so), rounded once from the sum.
/// Refused: out at or inside the model or the adapter (ConfigError); a tensor that the files lack, values that are not
/// finite (ModelError).
MergeReport merge_files(const std::filesystem::path& model, const Adapter& adapter, const std::filesystem::path& out,
                        core::ProgressObserver* progress = nullptr,
                        const std::function<void(const std::filesystem::path& made, const MergeReport&)>& last = nullptr,
                        std::optional<formats::DType> dtype = {});

/// Re-reads every element of every shard and compares it with what it must be. ModelError naming the first difference.
void verify_merge(const std::filesystem::path& model, const Adapter& adapter, const std::filesystem::path& merged,
                  core::ProgressObserver* progress = nullptr, std::optional<formats::DType> dtype = {});

}  // namespace lowrank::lora
