// The weights of a decoder out of safetensors files.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/formats/safetensors.h"
#include "lowrank/kernels/sharded_base.h"
#include "lowrank/models/coded_base.h"
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
  bool holds(const std::string& name) const override;
  at::Tensor take_bytes(const std::string& name, const std::vector<std::int64_t>& shape) override;
  std::string stored_name(const std::string& name) const override;
  std::shared_ptr<const kernels::BaseStorage> coded(const CodedWeight& weight) override;
  std::shared_ptr<const kernels::BaseStorage> sharded(const CodedWeight& weight) override;
  at::ScalarType dtype() const override { return dtype_; }

  /// From now on names that begin with `prefix` are read as beginning with `stored`; the first such prefix counts.
  void rename(const std::string& prefix, const std::string& stored) { renamed_.emplace_back(prefix, stored); }
  /// From now on a name that the files do not have is looked for with `own` in it replaced by `stored`.
  void respell(const std::string& own, const std::string& stored) { own_ = own, stored_ = stored; }
  /// From now on this is the tensor asked for as `name`, whatever the files have.
  void replace(const std::string& name, const at::Tensor& tensor) { replaced_[name] = tensor; }
  /// From now on weights that may be coded are noted, in the order in which they are asked for, and given as they lie;
  /// once use() has brought their codes, these are given.
  void code(kernels::BaseForm form) { form_ = form; }
  const std::vector<CodedWeight>& wanted() const { return wanted_; }
  void use(std::shared_ptr<const CodedBase> base) { base_ = std::move(base); }
  /// From now on matrices are given of which this process keeps its share; `layers`: what stands before a layer's number
  /// in their names. Not with code().
  void share_out(std::shared_ptr<kernels::ShardedBase> shares, std::string layers) {
    shares_ = std::move(shares), layers_ = std::move(layers);
  }
  /// Counts a tensor as taken.
  void pass_over(const std::string& name) { taken_.insert(name); }
  /// To be called when the decoder is made: ModelError for tensors that were asked for and are not in the files (take
  /// gave a stand-in without memory, so that the nearest name can be sought among those left over), and for tensors
  /// that were not taken and are not known to be inert. Gives those of parts that no forward pass of text reads (a
  /// picture's encoder, a value head, the prediction of further tokens).
  std::vector<std::string> check_complete(std::int64_t layers) const;

 private:
  const formats::WeightFiles::Entry* find(const std::string& name, const std::vector<std::int64_t>& shape);
  bool usable(at::ScalarType stored) const;

  const formats::WeightFiles& files_;
  at::ScalarType dtype_;
  bool trainable_;
  std::string embedding_;
  at::Device device_;
  std::set<std::string> taken_;
  std::vector<std::string> missing_;
  std::vector<std::pair<std::string, std::string>> renamed_;  // prefix -> in the files
  std::string own_, stored_;
  std::map<std::string, at::Tensor> replaced_;
  kernels::BaseForm form_ = kernels::BaseForm::kAsStored;
  std::vector<CodedWeight> wanted_;
  std::shared_ptr<const CodedBase> base_;
  std::shared_ptr<kernels::ShardedBase> shares_;
  std::string layers_;
};

}  // namespace lowrank::models
