// Which tensors of a model's files an adapter changes, and their merged values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

/// What becomes of some output rows of a stored tensor, or of all: their sum with an update, or other values.
struct RowChange {
  std::int64_t row_begin = 0, rows = 0;
  LoraMatrices lora = {};       // of an embedding by rows (lora::by_rows)
  at::Tensor replacement = {};  // fp32, a trained copy, in the layout of the file
};

/// What becomes of a stored tensor; without parts, nothing.
struct Change {
  bool transposed = false;  // stored [in, out]
  std::vector<RowChange> parts;
};

struct MergePlan {
  formats::WeightFiles weights;
  std::map<std::string, Change> changed;  // tensor name -> what becomes of it
  /// Of a tied head or embedding that the files do not have, once one of both is changed: its name -> the name of the
  /// stored tensor that it was.
  std::map<std::string, std::string> added;
  bool untied = false;      // head and embedding part: config.json has to say so
  std::uint64_t bytes = 0;  // of all tensors that are written

  /// The stored tensor that the merged one of this name is made of.
  const formats::WeightFiles::Entry& source(const std::string& name) const;
  /// What becomes of it.
  Change change(const std::string& name) const;
};

/// Opens the model's files and finds every tensor in them that the adapter changes. ModelError when one is missing or
/// has another shape or an integer type, or a tensor of the adapter is not finite.
MergePlan plan_merge(const std::filesystem::path& model, const Adapter& adapter);

/// Whether the config.json of a model (if it has one) says that head and embedding are tied.
bool says_tied(const std::filesystem::path& model);

/// The merged tensor's bytes, in blocks of whole rows from the first to the last; block(offset in bytes, bytes).
/// ModelError when a value is not finite (an F16 overflow, say).
void for_merged_blocks(const formats::WeightFiles::Entry& source, const Change& change,
                       const std::function<void(std::uint64_t, std::span<const std::byte>)>& block);

}  // namespace lowrank::lora
