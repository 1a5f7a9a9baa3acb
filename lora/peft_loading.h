// A PEFT directory while it is read: what its file holds, and the checks against the config and the model. Between the
// parts of lora::load_peft.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/path_change.h"
#include "lowrank/lora/peft_experts.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/tying.h"

namespace lowrank::lora {

using formats::TensorInfo;

inline constexpr std::string_view kOfWeight = ".weight";

// The low-rank tensors of a module.
struct Found {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  const TensorInfo* magnitude = nullptr;
  const TensorInfo* bias = nullptr;
  bool embedding = false;

  const TensorInfo*& of(LoraPart part) {
    return part == LoraPart::kA ? a : part == LoraPart::kB ? b : part == LoraPart::kBias ? bias : magnitude;
  }
  const std::string& any_name() const {
    return (a != nullptr ? a : b != nullptr ? b : magnitude != nullptr ? magnitude : bias)->name;
  }
};

// The file's tensors by the path of their module, in the file's words.
struct Contents {
  std::map<std::string, Found> pairs;
  std::map<std::string, std::map<std::string, const TensorInfo*>> whole;  // path -> "weight" | "bias" -> tensor
  std::map<std::string, const TensorInfo*> redundant;                     // path -> the base's own weight or bias
  std::map<std::string, const TensorInfo*> tokens;                        // path -> rows of its own
  std::map<std::string, ExpertsTensors> experts;                          // path of a parameter of experts -> tensors

  const std::string& name_at(const std::string& path) const {
    const auto of_experts = experts.find(path);
    if (of_experts != experts.end()) return of_experts->second.any_name();
    const auto pair = pairs.find(path);
    if (pair != pairs.end()) return pair->second.any_name();
    const auto rows = tokens.find(path);
    return rows != tokens.end() ? rows->second->name : whole.at(path).begin()->second->name;
  }
};

// Everything known while an adapter's file is checked, for the messages.
struct Loading {
  const SlotTable& table;
  std::filesystem::path directory;
  LoraConfig config;
  std::shared_ptr<const formats::SafetensorsFile> file;
  std::vector<std::string> notes;

  /// ModelError that begins with the file.
  [[noreturn]] void fail(const std::string& problem) const;
  /// The same for a tensor that `asked_by` asks for, with the nearest name that is there.
  [[noreturn]] void fail_missing(const std::string& name, const std::string& asked_by) const;
  /// "; the adapter was made for …", or nothing.
  std::string made_for() const;
};

/// "[2, 3]".
std::string shape_text(const std::vector<std::int64_t>& shape);

/// The tensors that a module has by this config.
std::vector<LoraPart> parts_of(const LoraConfig& config);

/// adapter_model.safetensors of a folder.
std::shared_ptr<const formats::SafetensorsFile> open_weights(const std::filesystem::path& directory);
/// The names that the config asks for, in this model's own paths.
std::vector<std::string> expected_names(const Loading& loading);
/// Every tensor of the file where it belongs. ModelError for one that belongs nowhere or is there twice.
Contents collect(Loading& loading);

/// A tensor of the file that is a trained copy of one beside the text, whatever the module calls it.
std::optional<WholeName> parse_beside_name(const SlotTable& table, const std::string& name);
/// Taken out of `contents`: what is on modules that the text of this model does not pass through. Said in the notes.
std::vector<BesideText> take_beside(Loading& loading, Contents& contents);

/// The shape of a layer's weight, in the roles that A and B have on it.
struct Widths {
  std::int64_t in = 0, out = 0;
};
/// A, B and magnitude of the module that the file calls `path`, as leaves that require grad. `known`: the path by which
/// the config's patterns know it.
LoraMatrices read_matrices(const Loading& loading, const Contents& contents, const std::string& path,
                           const std::string& known, Widths widths, bool embedding, at::Device device);
/// The matrices of all experts of a slot, from one pair of tensors or from one for each expert and layer.
LoraMatrices read_experts(Loading& loading, const Contents& contents, const std::string& path,
                          const ExpertsSlotImpl& slot, const std::vector<ExpertsSlot>& adapted);
/// The copies of one module, taken out of `contents`; `beside_lora`: the adapter has A and B there too.
std::vector<NamedTensor> read_copies(Loading& loading, Contents& contents, const std::string& path,
                                     const WholeModule& module, const std::vector<std::string>& wanted,
                                     bool beside_lora);

/// The rows of one of the model's modules, [n, d] for n ids; a leaf that requires grad.
at::Tensor read_rows(Loading& loading, const Contents& contents, const std::string& path, std::int64_t ids,
                     std::int64_t width, at::Device device);
/// Takes out of `contents` what the head `file_head` has again of an embedding that it is tied to (Tied): ModelError where
/// it is not the same.
void take_shared(Loading& loading, Contents& contents, Tied tied, const std::string& file_embedding,
                 const std::string& file_head);

/// ModelError for what the adapter was not told to bring, but for the model's own tensors.
void refuse_left_over(const Loading& loading, const Contents& contents, const PathChange& change);
/// PEFT saves the base's own weight with a targeted embedding or head: ModelError where it is not this model's.
void check_redundant(Loading& loading, const Contents& contents, const PathChange& change);

}  // namespace lowrank::lora
