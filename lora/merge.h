// Merging an adapter into the model's files, shard by shard, and the proof that it was done right.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
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
/// at a time, so that a model larger than memory can be merged. `out` is made as a staged directory and appears whole.
/// Refused: out at or inside the model or the adapter (ConfigError); a tensor that the files lack, values that are not
/// finite (ModelError).
MergeReport merge_files(const std::filesystem::path& model, const Adapter& adapter, const std::filesystem::path& out,
                        core::ProgressObserver* progress = nullptr);

/// Re-reads every element of every shard and compares it with what it must be. ModelError naming the first difference.
void verify_merge(const std::filesystem::path& model, const Adapter& adapter, const std::filesystem::path& merged,
                  core::ProgressObserver* progress = nullptr);

}  // namespace lowrank::lora
