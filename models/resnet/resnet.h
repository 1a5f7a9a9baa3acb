// ResNet for image classification (He et al. 2015), with transformers' names: ResNetForImageClassification.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/lora/whole_module.h"
#include "lowrank/models/resnet/config.h"

namespace torch::nn {
class Module;
}

namespace lowrank::models {

/// The network is a torch::nn::Module of Conv2d, BatchNorm2d and Linear children under Hugging Face's paths
/// (resnet.encoder.stages.0.layers.1.layer.0.convolution, classifier.1), so that lora::inject adapts it and
/// named_parameters() and named_buffers() are the names of its file. Its gradients do not depend on the number of
/// threads. New ones are in evaluation mode: batch norms use their running statistics, as they must while an adapter
/// trains on a frozen base; network().train() makes them use and track the batch's.
class ResNet {
 public:
  /// A random start, as transformers' (convolutions N(0, 2 / fan_out), the head U(±1/√in)), drawn from (seed, name).
  static ResNet random(const ResNetConfig& config, std::uint64_t seed);
  /// config.json and model.safetensors (or shards). Strict: ModelError for a tensor that is missing, unexpected or
  /// misshapen, by name with the nearest. Weights in fp32, whatever the file has.
  static ResNet load(const std::filesystem::path& directory);
  /// config.json and model.safetensors, as transformers loads them.
  void save(const std::filesystem::path& directory) const;

  /// A head for these classes, drawn from the seed as random() draws it, in the place of the one that is there.
  void new_head(std::vector<std::string> labels, std::uint64_t seed);
  /// Other names for the classes, as many as there are.
  void rename_labels(std::vector<std::string> labels);
  /// From here on batch norms take the mean and variance of each batch (and of a batch of one, its places').
  void use_batch_statistics(bool on);
  /// Running statistics anew: the average over these batches of each batch's mean and (unbiased) variance under the
  /// weights of now, as PreciseBN has it (Wu and Johnson 2021). `batch(i)` gives pixels [N, channels, H, W].
  void estimate_statistics(std::int64_t batches, const std::function<at::Tensor(std::int64_t)>& batch);

  const ResNetConfig& config() const;
  torch::nn::Module& network();
  /// The network's own, by their paths. (For those who need no more of it: LibTorch's module header takes 10 s to
  /// read.)
  std::vector<lora::NamedTensor> named_parameters() const;
  std::vector<lora::NamedTensor> named_buffers() const;
  /// pixels [N, channels, H, W] -> logits [N, labels]. ModelError where the channels are others.
  at::Tensor logits(const at::Tensor& pixels);

 private:
  struct Network;
  explicit ResNet(const ResNetConfig& config);
  std::shared_ptr<Network> network_;
};

}  // namespace lowrank::models
