// A place in a model's tree of names from which a block takes its weights: every module that is made in it is
// registered in order, so that slots, saved names and counts fall out of one walk.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/lora/layer_modules.h"
#include "lowrank/lora/linear_slot.h"
#include "lowrank/lora/whole_module.h"
#include "lowrank/models/weight_source.h"

namespace lowrank::models {

/// What the blocks of one part of a decoder (the embedding, a layer, the final norm, the head) are made of, in the
/// order in which they were made. Files and adapters have first a part's linear layers, then its other modules.
struct Modules {
  std::vector<lora::LinearSlot> slots;
  std::vector<lora::WholeModule> whole;  // norms and whatever else has parameters

  /// Whether something of it is trained now.
  bool trains() const;
};

struct LinearShape {
  std::int64_t in = 0, out = 0;
  bool bias = false;
  bool transposed = false;  // stored [in, out], as GPT-2's Conv1D is
  double deviation = 1;     // of a new model's weight, times initializer_range
};

struct Parameter {
  std::string name;  // in its module: "weight"
  std::vector<std::int64_t> shape;
  Initial initial = {};
};

class Scope {
 public:
  /// `modules` and `weights` must outlive the scope; `root` is what linear layers are children of.
  Scope(WeightSource& weights, Modules& modules, lora::ModulePtr root, std::string prefix = "");

  /// The scope of a child: "self_attn" in "model.layers.0." is "model.layers.0.self_attn.".
  Scope inside(const std::string& name) const;
  const std::string& prefix() const { return prefix_; }
  at::ScalarType dtype() const { return weights_.dtype(); }

  /// The linear layer `name` with the tensors "weight" and, where it has one, "bias".
  lora::LinearSlot linear(const std::string& name, const LinearShape& shape) const;
  /// The linear layer `name` over a tensor [out, in] that another module has too (a tied head): registered, not
  /// counted.
  lora::LinearSlot shared_linear(const std::string& name, const at::Tensor& weight) const;
  /// A module of parameters in the run's dtype.
  lora::WholeModule parameters(const std::string& name, const std::vector<Parameter>& parameters) const;
  /// A tensor as the source gives it, registered nowhere: "embed_tokens.weight".
  at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial = {}) const;

  /// Where the files have the tensors of the module of this path.
  lora::StoredWeight stored_weight(const std::string& path) const;

 private:
  void add(const lora::LinearSlot& slot) const;

  WeightSource& weights_;
  Modules& modules_;
  lora::ModulePtr root_;
  std::string prefix_;
};

}  // namespace lowrank::models
