// The matrices of a layer's experts as one slot: PEFT's target_parameters, a parameter [E, …] of the module that owns
// it, adapted by its ParamWrapper.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/kernels/experts.h"
#include "lowrank/lora/linear_slot.h"

namespace lowrank::lora {

/// Where a model's files keep some rows of one expert's matrix.
struct StoredExpert {
  std::string tensor;
  std::int64_t place = -1;  // in a tensor of all experts [E, …]; -1: the tensor is this expert's alone
  bool transposed = false;  // stored as [in, out]
  std::int64_t rows = 0;    // output rows
};

/// What a slot of experts is made of.
struct ExpertsBase {
  std::string owner, parameter;    // "model.layers.0.mlp.experts", "gate_up_proj"
  std::vector<std::string> parts;  // what older files call the linear layers of one expert: "gate_proj", "up_proj"
  kernels::ExpertsWeight weight;
  std::vector<std::vector<StoredExpert>> stored;  // by expert and part
  std::vector<NamedTensor> own;                   // its tensors under the names of the model's files
  bool packed = false;                            // in 4 bits, say: nothing can be merged into it
};

/// y = x (Wₑ + s Bₑ Aₑ)ᵀ + bₑ for each row and its expert. An adapter's matrices are those of PEFT's ParamWrapper: A [E
/// r, in], by expert and then by rank, and B [out, r E], by rank and then by expert.
class ExpertsSlotImpl {
 public:
  explicit ExpertsSlotImpl(ExpertsBase base);

  /// As kernels::experts_linear.
  at::Tensor forward(const at::Tensor& x, const kernels::SharedRows& rows, bool by_token);

  const std::string& path() const { return path_; }  // "model.layers.0.mlp.experts.gate_up_proj"
  const ExpertsBase& base() const { return base_; }
  const kernels::ExpertsWeight& weight() const { return base_.weight; }
  std::int64_t experts() const { return base_.weight.experts(); }
  /// As LinearSlotImpl::module().
  const ModulePtr& module() const { return module_; }

  bool adapted() const { return !adapters_.empty(); }
  bool adapted(const std::string& adapter) const { return adapters_.has(adapter); }
  /// InternalError where no adapter has this name. r: of one expert.
  const LoraMatrices& lora(const std::string& adapter = kDefaultAdapter) const { return adapters_.at(adapter, path_); }
  LoraMatrices& lora(const std::string& adapter = kDefaultAdapter) { return adapters_.at(adapter, path_); }
  /// Enabled from the start. ModelError when the shapes do not fit; ConfigError when the slot has one of this name.
  void attach(LoraMatrices matrices, const std::string& adapter = kDefaultAdapter);
  void detach(const std::string& adapter = kDefaultAdapter);
  void set_enabled(bool enabled, const std::string& adapter = kDefaultAdapter) {
    adapters_.set_enabled(enabled, adapter);
  }
  bool enabled() const { return adapters_.any_enabled(); }
  /// Whether something of it is trained now.
  bool trains() const;
  /// Values that its adapters keep of a row for the backward pass.
  std::int64_t kept_per_row() const;

  /// As LinearSlotImpl's: a copy of every expert's matrix with the update of the one adapter that is enabled.
  void merge();
  void unmerge();
  bool merged() const { return merged_.experts() > 0; }

 private:
  ExpertsBase base_;
  std::string path_;
  ModulePtr module_;
  AdapterList<LoraMatrices> adapters_;
  kernels::ExpertsWeight merged_;
};
using ExpertsSlot = std::shared_ptr<ExpertsSlotImpl>;

/// One expert's A [r, in] and B [out, r] of an adapter's matrices, views; of B the rows [begin, begin + rows).
LoraMatrices matrices_of(const LoraMatrices& lora, std::int64_t experts, std::int64_t expert, std::int64_t begin,
                         std::int64_t rows);

}  // namespace lowrank::lora
