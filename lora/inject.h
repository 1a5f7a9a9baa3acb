// Low-rank adapters for any torch::nn network, without a change to its classes: before each forward pass the weights of
// the adapted modules become W + s·B A, so that the network's own code computes with them and gradients reach A and B.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/lora/adapter.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/match.h"

namespace torch::nn {
class Module;
}

namespace lowrank::lora {

/// The adapters in one network. Modules that can be adapted, by their paths in named_modules(): torch::nn::Linear,
/// Conv1d, Conv2d (with groups it becomes a convolution without, since PEFT's A sees every channel), Embedding, and
/// MultiheadAttention, whose path stands for its packed in_proj and its out_proj together, as in PEFT.
/// The network must outlive this, or be reached through it: its modules are shared.
class Injected {
 public:
  Injected(Injected&&) noexcept;
  Injected& operator=(Injected&&) = delete;
  ~Injected();  // detaches

  /// With targets that PEFT resolves to the same modules.
  const LoraConfig& config() const { return config_; }
  /// Paths of the adapted modules; a MultiheadAttention is one.
  std::vector<std::string> modules() const;
  /// The trainable tensors, for an optimiser: A and B of each, then the parameters of modules_to_save.
  std::vector<at::Tensor> parameters() const;
  /// The same with their names in PEFT's files.
  const std::vector<NamedTensor>& named_parameters() const { return parameters_; }

  /// Puts W + s·B A in the place of every adapted weight, recorded by autograd where that is on. Call it before each
  /// forward pass after A or B changed; LibTorch says "backward through the graph a second time" where it was
  /// forgotten.
  void compose();
  /// Off: compose() puts W itself.
  void set_enabled(bool enabled);

  /// Writes round(W + ΔW) into the network's own parameters, so that torch::save writes a plain network; unmerge() puts
  /// the exact bytes back. ConfigError by compose() while merged with autograd on.
  void merge();
  void unmerge();
  bool merged() const { return merged_; }

  /// The network as it was: weights, groups, and which parameters require gradients. Trained modules_to_save keep their
  /// values.
  void detach();
  /// merge(), and the network keeps the sums.
  void merge_and_detach();

 private:
  friend Injected inject(torch::nn::Module&, const LoraConfig&, std::uint64_t);
  struct Place;
  Injected();
  void put_back();

  LoraConfig config_;
  std::vector<Place> places_;
  std::vector<NamedTensor> parameters_;
  std::vector<std::pair<at::Tensor, bool>> required_grad_;  // every parameter of the network, and whether it did before
  bool enabled_ = true, merged_ = false;
};

/// New matrices on every module that `config` targets (PEFT's rules; all-linear: every Linear outside a
/// MultiheadAttention), B zero (for an Embedding A zero, as PEFT has it); every other parameter is frozen but those of
/// config.modules_to_save (paths, their ends, or what holds them), which are trained whole and saved beside.
/// ConfigError for a target that matches nothing (with the nearest name), a rank that is no multiple of a convolution's
/// groups, dropout (composed weights have no adapter input to drop: LoraLinear and LoraConv2d do), an Embedding with
/// max_norm or sparse gradients, a MultiheadAttention whose keys or values have a width of their own, a weight that two
/// modules share.
Injected inject(torch::nn::Module& network, const LoraConfig& config, std::uint64_t seed = 42);

/// match() on the modules of a network that a config may name.
Match targets_in(torch::nn::Module& network, const LoraConfig& config);

/// adapter_model.safetensors and adapter_config.json, as PEFT writes them for the same network in PyTorch; the folder
/// is made.
void save_injected(const Injected& injected, const std::filesystem::path& directory);
/// A PEFT directory into a network. Strict: ModelError for a missing, unexpected or misshapen tensor, by name; then the
/// network is as before.
Injected load_injected(torch::nn::Module& network, const std::filesystem::path& directory);

}  // namespace lowrank::lora
