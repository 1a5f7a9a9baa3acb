// Which tensors of a model's files an adapter changes, and their merged values.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
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
  kernels::BaseWeight decoded = {};  // to be updated instead of the stored rows, where it is defined

  /// What the update is added to: of `stored`, some rows of W from row `from` of this part on; or columns of all its rows.
  at::Tensor rows_before(const at::Tensor& stored, std::int64_t from) const {
    return decoded.defined() ? decoded.rows(from, stored.size(0), at::kFloat) : stored;
  }
  at::Tensor columns_before(const at::Tensor& stored, std::int64_t from) const {
    return decoded.defined() ? decoded.columns(from, stored.size(1), at::kFloat) : stored;
  }
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
  /// Tensors of a resized base (SlotTable::file_rows), with the rows that the model's files do not have.
  std::map<std::string, formats::WeightFiles::Entry> grown;
  std::int64_t vocabulary = 0;  // rows of the result's embedding where they are more than the files'; else 0
  bool untied = false;      // head and embedding part: config.json has to say so
  bool tied = false;        // there is no head, as the embedding is it: config.json has to say so, where it says nothing
  std::uint64_t bytes = 0;  // of all tensors that are written
  std::optional<formats::DType> dtype;  // of every floating-point tensor that is written; none: each as it is stored

  /// The stored tensor that the merged one of this name is made of.
  const formats::WeightFiles::Entry& source(const std::string& name) const;
  /// The file of the model in whose counterpart it is written.
  const formats::SafetensorsFile& shard(const std::string& name) const;
  /// The type in which it is written.
  formats::DType dtype_of(const std::string& name) const;
  std::uint64_t bytes_of(const std::string& name) const;
  /// What becomes of it.
  Change change(const std::string& name) const;
};

/// Opens the model's files and finds every tensor in them that the adapter changes. ModelError when one is missing or
/// has another shape or an integer type, or a tensor of the adapter is not finite. `dtype`: MergePlan::dtype.
MergePlan plan_merge(const std::filesystem::path& model, const Adapter& adapter, std::optional<formats::DType> dtype = {});

/// A model's weights, by names: an embedding that the files have as the tied head alone is there as the embedding, under whose name
/// every reader looks for it.
formats::WeightFiles weights_to_merge(const std::filesystem::path& model, const std::string& embedding, const std::string& head);

/// Whether the config.json of a model (if it has one) says that head and embedding are tied.
bool says_tied(const std::filesystem::path& model);

/// The merged tensor's bytes in `dtype`, rounded once, in blocks of whole rows from the first to the last; block(offset in bytes, bytes).
/// ModelError when a value is not finite (an F16 overflow, say).
void for_merged_blocks(const formats::WeightFiles::Entry& source, const Change& change, formats::DType dtype,
                       const std::function<void(std::uint64_t, std::span<const std::byte>)>& block);

}  // namespace lowrank::lora
