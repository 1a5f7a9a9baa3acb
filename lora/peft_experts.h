// What PEFT's files call the matrices of experts: those of ParamWrappers, nested where an adapter has several
// parameters of one module, or in files of older versions those of a linear layer for each expert.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/formats/safetensors.h"
#include "lowrank/lora/adapter.h"

namespace lowrank::lora {

struct ExpertsPlace {
  std::string parameter;     // its path in the file's words: "model.layers.0.mlp.experts.gate_up_proj"
  std::int64_t expert = -1;  // of the older form
  std::size_t part = 0;      // of its linear layers
};

/// The tensors of a file for one parameter of experts.
struct ExpertsTensors {
  struct Pair {
    const formats::TensorInfo* a = nullptr;
    const formats::TensorInfo* b = nullptr;
  };
  const formats::TensorInfo* a = nullptr;
  const formats::TensorInfo* b = nullptr;
  std::map<std::pair<std::int64_t, std::size_t>, Pair> older;  // by expert and part

  const formats::TensorInfo*& of(const ExpertsPlace& place, bool is_a);
  const std::string& any_name() const;
};

/// Reads paths (what stands before .lora_A).
class ExpertsNames {
 public:
  /// `config`: says which parameters are adapted, and so how their wrappers are nested.
  ExpertsNames(const SlotTable& table, const LoraConfig& config);
  /// A path as the model spells it: "model.layers.0.mlp.gate" for "model.layers.0.block_sparse_moe.gate".
  std::string respelt(const std::string& path) const;
  /// Nothing where it is none of experts.
  std::optional<ExpertsPlace> place(const std::string& path) const;

 private:
  /// The parameters of this module that are adapted, from the innermost wrapper to the outermost: other layers may have
  /// others.
  std::vector<std::string> adapted_of(const std::string& module) const;

  std::string own_, older_;
  std::string module_;                // the last name of the modules that own them: "experts"
  std::vector<std::string> entries_;  // of target_parameters
  std::vector<std::pair<std::string, std::vector<std::string>>> parts_;  // parameter -> its layers
};

/// A, B and rank of all experts from one pair a layer, as PEFT fuses them: with several layers A is theirs one under
/// another and B block-diagonal, the rank their sum. Leaves that require grad. ModelError for a pair that is missing or
/// has another shape. `read`: a tensor's values.
void fuse_experts(const ExpertsTensors& tensors, const ExpertsSlotImpl& slot, const std::string& file,
                  const std::function<at::Tensor(const formats::TensorInfo&)>& read, LoraMatrices& lora);

}  // namespace lowrank::lora
