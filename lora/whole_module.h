// A module of a model whose parameters an adapter may replace by trained copies of its own (PEFT: modules_to_save, and
// the biases that `bias` names). The base's tensors stay as they are.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "lowrank/kernels/base_weight.h"
#include "lowrank/lora/adapter_list.h"
#include "lowrank/lora/stored_weight.h"

namespace lowrank::lora {

/// A tensor by name: a trainable one as PEFT's file has it ("base_model.model.….lora_A.weight"), a module's own as
/// "weight" or "bias".
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// A layer's weight (where it is dense, in the shape in which it is stored) and bias, by their names in the module: the
/// tensors themselves.
std::vector<NamedTensor> own_tensors(const kernels::BaseWeight& base);

/// An embedding, a norm, a head, or the own tensors of a linear layer. Adapters are known by name; what is not enabled
/// costs nothing.
class WholeModuleImpl {
 public:
  /// `path` as the model names the module ("model.norm"); `base`: its tensors "weight" and, where it has one, "bias",
  /// in the shapes of the model's files (of a linear layer that is stored transposed: [in, out]).
  WholeModuleImpl(std::string path, std::vector<NamedTensor> base, StoredWeight stored = {});

  const std::string& path() const { return path_; }
  /// With both names filled in.
  const StoredWeight& stored() const { return stored_; }
  const std::vector<NamedTensor>& base() const { return base_; }

  /// What the model computes with: the enabled adapter's copy (an fp32 leaf), else the base's own tensor; undefined
  /// where the module has none of this name. ConfigError when two enabled adapters both bring one.
  at::Tensor current(const std::string& name) const;
  /// Whether an enabled adapter brings copies, and whether one of this name.
  bool enabled() const { return adapters_.any_enabled(); }
  bool brings(const std::string& name) const;

  bool adapted(const std::string& adapter = kDefaultAdapter) const { return adapters_.has(adapter); }
  /// An adapter's copies. InternalError where it has none here.
  const std::vector<NamedTensor>& copies(const std::string& adapter = kDefaultAdapter) const {
    return adapters_.at(adapter, path_);
  }
  /// fp32 leaves that require grad, one for each tensor of `names` ("weight", "bias"; those the module has not are
  /// passed over), equal to the base's.
  std::vector<NamedTensor> fresh_copies(const std::vector<std::string>& names = {"weight", "bias"}) const;
  /// Enabled from the start. ModelError for a name or shape that the base does not have; ConfigError when the adapter
  /// has copies here already.
  void attach(std::vector<NamedTensor> copies, const std::string& adapter = kDefaultAdapter);
  void detach(const std::string& adapter = kDefaultAdapter) { adapters_.remove(adapter); }
  void set_enabled(bool enabled, const std::string& adapter = kDefaultAdapter) {
    adapters_.set_enabled(enabled, adapter);
  }

 private:
  std::string path_;
  StoredWeight stored_;
  std::vector<NamedTensor> base_;
  AdapterList<std::vector<NamedTensor>> adapters_;
};
using WholeModule = std::shared_ptr<WholeModuleImpl>;  // shared by a model and the adapters attached to it

}  // namespace lowrank::lora
