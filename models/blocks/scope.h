// A place in a model's tree of names from which a block takes its weights: every module that is made in it is
// registered in order, so that slots, saved names and counts fall out of one walk.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/lora/experts_slot.h"
#include "lowrank/lora/layer_modules.h"
#include "lowrank/lora/linear_slot.h"
#include "lowrank/lora/whole_module.h"
#include "lowrank/models/weight_source.h"

namespace lowrank::models {

/// What the blocks of one part of a decoder (the embedding, a layer, the final norm, the head) are made of, in the
/// order in which they were made. Files and adapters have first a part's linear layers, then its other modules.
struct Modules {
  std::vector<lora::LinearSlot> slots;
  std::vector<lora::LinearSlot> routers;  // no linear layers for PEFT, which adapts their parameter
  std::vector<lora::ExpertsSlot> experts;
  std::vector<lora::WholeModule> whole;  // norms and whatever else has parameters
  std::vector<std::string> kept_from_all_linear;  // paths of slots (lora::SlotTable)

  /// Whether something of it is trained now.
  bool trains() const;
};

struct LinearShape {
  std::int64_t in = 0, out = 0;
  bool bias = false;
  bool transposed = false;  // stored [in, out], as GPT-2's Conv1D is
  double deviation = 1;     // of a new model's weight, times initializer_range
  bool as_stored = false;   // never in codes (a head)
};

/// A parameter of all experts of a layer.
struct ExpertsShape {
  std::string parameter;           // "gate_up_proj"
  std::vector<std::string> parts;  // the linear layers of one expert that files keep instead; none: never
  std::int64_t experts = 0, in = 0, out = 0;
  bool bias = false;
  bool transposed = false;  // the parameter is [E, in, out]
};

struct Parameter {
  std::string name;  // in its module: "weight"
  std::vector<std::int64_t> shape;
  Initial initial = {};
  bool fixed = false;      // never trained: transformers has it as a buffer
  bool as_stored = false;  // in the file's dtype (a table of which single rows are read)
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
  /// The linear layer `name` over a weight [out, in] that another module has too (a tied head): registered, not
  /// counted.
  lora::LinearSlot shared_linear(const std::string& name, const kernels::BaseWeight& weight) const;
  /// The router `name`: a linear layer that is no target by target_modules.
  lora::LinearSlot router(const std::string& name, const LinearShape& shape) const;
  /// all-linear passes over the linear layer of this path.
  void keep_from_all_linear(const std::string& path) const { modules_.kept_from_all_linear.push_back(path); }
  /// The matrices of the experts in the module `name`, as the files have them: one tensor "name.parameter", its blocks
  /// and scales in MXFP4, or a linear layer "name.0.part" for each expert and part.
  lora::ExpertsSlot experts(const std::string& name, const ExpertsShape& shape) const;
  /// A module of parameters in the run's dtype.
  lora::WholeModule parameters(const std::string& name, const std::vector<Parameter>& parameters) const;
  /// The same of the scope's own module: "model.layers.0." has "layer_scalar".
  lora::WholeModule own_parameters(const std::vector<Parameter>& parameters) const;
  /// The table [rows, columns] of this name, registered nowhere: "embed_tokens.weight".
  kernels::BaseWeight table(const std::string& name, std::int64_t rows, std::int64_t columns) const;
  /// A tensor as the source gives it, registered nowhere.
  at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial = {}) const;

  /// Where the files have the tensors of the module of this path.
  lora::StoredWeight stored_weight(const std::string& path) const;

 private:
  using Storage = std::shared_ptr<const kernels::BaseStorage>;
  /// In shares, or in codes; null: as the source gives it.
  Storage frozen(const CodedWeight& weight) const;
  CodedWeight place_of(const std::string& name, const LinearShape& shape) const;
  lora::LinearSlot make_linear(const std::string& name, const LinearShape& shape, const Storage& storage) const;
  void add_tree(const std::string& path, const lora::ModulePtr& module) const;
  lora::WholeModule parameters_at(const std::string& path, const std::vector<Parameter>& parameters) const;

  WeightSource& weights_;
  Modules& modules_;
  lora::ModulePtr root_;
  std::string prefix_;
};

}  // namespace lowrank::models
