// The weights of a decoder out of safetensors files.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/formats/safetensors.h"
#include "lowrank/models/weight_source.h"

namespace lowrank::models {

/// Read-only views of the mapped files wherever the run can compute with the stored dtype; else copies. With
/// `trainable`, copies in fp32 that require grad.
class MappedWeights : public WeightSource {
 public:
  /// `embedding`: the name of the token embedding, whose rows are the vocabulary.
  MappedWeights(const formats::WeightFiles& files, at::ScalarType dtype, bool trainable, std::string embedding,
                at::Device device = at::kCPU)
      : files_(files), dtype_(dtype), trainable_(trainable), embedding_(std::move(embedding)), device_(device) {}

  at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape, const Initial& initial) override;
  std::string stored_name(const std::string& name) const override;
  at::ScalarType dtype() const override { return dtype_; }

  /// From now on names that begin with `prefix` are read as beginning with `stored`.
  void rename(const std::string& prefix, const std::string& stored) { prefix_ = prefix, stored_prefix_ = stored; }
  /// From now on a tensor asked for as `name` is read as `stored` (a tied model that stores the head alone).
  void alias(const std::string& name, const std::string& stored) { aliases_[name] = stored; }
  /// Counts a tensor as taken.
  void pass_over(const std::string& name) { taken_.insert(name); }
  /// To be called when the decoder is made: ModelError for tensors that were asked for and are not in the files (take
  /// gave a stand-in without memory, so that the nearest name can be sought among those left over), and for tensors
  /// that were not taken and are not known to be inert.
  void check_complete() const;

 private:
  const formats::WeightFiles& files_;
  at::ScalarType dtype_;
  bool trainable_;
  std::string embedding_;
  at::Device device_;
  std::set<std::string> taken_;
  std::vector<std::string> missing_;
  std::string prefix_, stored_prefix_;
  std::map<std::string, std::string> aliases_;
};

}  // namespace lowrank::models
