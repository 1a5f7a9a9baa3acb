#include "lowrank/models/resnet/resnet.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/max_pool2d.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <cmath>
#include <optional>
#include <set>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/random.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/convolution.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/lora_linear.h"

namespace lowrank::models {
namespace {

using torch::nn::Module;

/// The module at a dotted path under `root`, made of plain modules where it is not there yet.
std::shared_ptr<Module> node(const std::shared_ptr<Module>& root, const std::string& path) {
  std::shared_ptr<Module> at = root;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('.', begin), path.size());
    const std::string name = path.substr(begin, end - begin);
    const auto children = at->named_children();
    const auto* const child = children.find(name);
    at = child != nullptr ? *child : at->register_module(name, std::make_shared<Module>());
    begin = end + 1;
  }
  return at;
}

struct ConvNorm {
  torch::nn::Conv2d convolution{nullptr};
  torch::nn::BatchNorm2d normalization{nullptr};

  at::Tensor forward(const at::Tensor& x) {
    const auto& options = convolution->options;
    const auto& padding = *std::get<torch::ExpandingArray<2>>(options.padding());
    const kernels::ConvShape shape{{options.stride()->begin(), options.stride()->end()},
                                   {1, 1},
                                   {padding[1], padding[1], padding[0], padding[0]},
                                   "constant",
                                   1};
    return normalization->forward(kernels::convolution(x, convolution->weight, {}, shape));
  }
};

struct Block {
  std::vector<ConvNorm> layers;
  std::optional<ConvNorm> shortcut;

  at::Tensor forward(const at::Tensor& x) {
    at::Tensor h = x;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      h = layers[i].forward(h);
      if (i + 1 < layers.size()) h = h.relu();
    }
    return h.add(shortcut ? shortcut->forward(x) : x).relu();
  }
};

ConvNorm conv_norm(const std::shared_ptr<Module>& root, const std::string& path, std::int64_t in, std::int64_t out,
                   std::int64_t kernel, std::int64_t stride) {
  const std::shared_ptr<Module> parent = node(root, path);
  ConvNorm result;
  result.convolution =
      torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, kernel).stride(stride).padding(kernel / 2).bias(false));
  result.normalization = torch::nn::BatchNorm2d(out);
  parent->register_module("convolution", result.convolution);
  parent->register_module("normalization", result.normalization);
  return result;
}

constexpr std::int64_t kReduction = 4;  // of a bottleneck's inner width

Block block(const std::shared_ptr<Module>& root, const std::string& path, const ResNetConfig& config, std::int64_t in,
            std::int64_t out, std::int64_t stride) {
  Block result;
  if (in != out || stride != 1) result.shortcut = conv_norm(root, path + ".shortcut", in, out, 1, stride);
  const auto add = [&](std::int64_t from, std::int64_t to, std::int64_t kernel, std::int64_t step) {
    result.layers.push_back(
        conv_norm(root, fmt::format("{}.layer.{}", path, result.layers.size()), from, to, kernel, step));
  };
  if (config.bottleneck) {
    const std::int64_t inner = out / kReduction;
    if (inner == 0)
      throw ModelError(fmt::format("hidden_sizes has {}; a bottleneck needs at least {}", out, kReduction));
    add(in, inner, 1, config.downsample_in_bottleneck ? stride : 1);
    add(inner, inner, 3, config.downsample_in_bottleneck ? 1 : stride);
    add(inner, out, 1, 1);
  } else {
    add(in, out, 3, stride);
    add(out, out, 3, 1);
  }
  return result;
}

std::vector<std::pair<std::string, at::Tensor>> tensors_of(const Module& network) {
  std::vector<std::pair<std::string, at::Tensor>> result;
  for (const auto& item : network.named_parameters()) result.emplace_back(item.key(), item.value());
  for (const auto& item : network.named_buffers()) result.emplace_back(item.key(), item.value());
  return result;
}

}  // namespace

struct ResNet::Network : Module {
  ResNetConfig config;
  ConvNorm stem;
  std::vector<Block> blocks;
  torch::nn::Linear head{nullptr};
};

ResNet::ResNet(const ResNetConfig& config) : network_(std::make_shared<Network>()) {
  Network& net = *network_;
  net.config = config;
  net.stem = conv_norm(network_, "resnet.embedder.embedder", config.num_channels, config.embedding_size, 7, 2);
  std::int64_t width = config.embedding_size;
  for (std::size_t stage = 0; stage < config.depths.size(); ++stage) {
    for (std::int64_t i = 0; i < config.depths[stage]; ++i) {
      const bool halves = i == 0 && (stage > 0 || config.downsample_in_first_stage);
      net.blocks.push_back(block(network_, fmt::format("resnet.encoder.stages.{}.layers.{}", stage, i), config, width,
                                 config.hidden_sizes[stage], halves ? 2 : 1));
      width = config.hidden_sizes[stage];
    }
  }
  net.head = torch::nn::Linear(width, static_cast<std::int64_t>(config.labels.size()));
  node(network_, "classifier")->register_module("1", net.head);  // 0 is transformers' nn.Flatten
  net.eval();
}

namespace {

/// A weight drawn from its own stream: a convolution N(0, 2 / fan_out), the head U(±1/√width).
void draw(const std::string& name, const at::Tensor& tensor, std::int64_t width, std::uint64_t seed) {
  const core::RandomStream stream(seed, "init:" + name);
  const bool convolution = tensor.dim() == 4;
  const double deviation =
      convolution ? std::sqrt(2.0 / static_cast<double>(tensor.size(0) * tensor[0][0].numel())) : 0;
  const double bound = 1 / std::sqrt(static_cast<double>(width));
  std::vector<float> values(static_cast<std::size_t>(tensor.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = static_cast<float>(convolution ? deviation * stream.normal(i) : (2 * stream.uniform(i) - 1) * bound);
  }
  kernels::copy_from_host<float>(tensor, values);
}

}  // namespace

ResNet ResNet::random(const ResNetConfig& config, std::uint64_t seed) {
  ResNet result(config);
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : tensors_of(*result.network_)) {
    if (tensor.dim() != 4 && !name.starts_with("classifier")) continue;  // batch norms begin as they are made
    draw(name, tensor, config.hidden_sizes.back(), seed);
  }
  return result;
}

ResNet ResNet::load(const std::filesystem::path& directory) {
  const auto file = directory / "config.json";
  const core::Json json = core::read_json(file, core::kSettings);
  ResNet result(parse_resnet_config(core::JsonView(json, file.string())));
  const formats::WeightFiles files = formats::WeightFiles::open(directory);
  const auto tensors = tensors_of(*result.network_);
  std::vector<std::string> expected;
  for (const auto& [name, tensor] : tensors) expected.push_back(name);
  const std::vector<std::string> present = files.names();
  const auto fail = [&](const std::string& problem) {
    throw ModelError(fmt::format("{}: {}", directory.string(), problem));
  };
  const std::set<std::string> known(expected.begin(), expected.end());
  for (const std::string& name : present)
    if (known.count(name) == 0)
      fail(fmt::format("tensor '{}' is not part of the network that config.json describes{}",
                       core::printable(name, 200), core::did_you_mean(name, expected)));
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : tensors) {
    const auto* const entry = files.find(name);
    if (entry == nullptr)
      fail(fmt::format("tensor '{}' is missing of what config.json describes{}", name,
                       core::did_you_mean(name, present)));
    if (at::IntArrayRef(entry->info->shape) != tensor.sizes())
      fail(fmt::format("tensor '{}' has shape [{}]; expected [{}] by config.json", name,
                       fmt::join(entry->info->shape, ", "), fmt::join(tensor.sizes(), ", ")));
    at::Tensor(tensor).copy_(formats::tensor_view(*entry));
  }
  return result;
}

void ResNet::save(const std::filesystem::path& directory) const {
  core::make_folder(directory);
  std::vector<formats::TensorToWrite> tensors;
  for (const auto& [name, tensor] : tensors_of(*network_))
    tensors.push_back(formats::tensor_to_write(name, tensor.detach()));
  formats::write_safetensors(directory / "model.safetensors", std::move(tensors));
  core::write_file(directory / "config.json", resnet_config_json(network_->config));
}

void ResNet::new_head(std::vector<std::string> labels, std::uint64_t seed) {
  Network& net = *network_;
  const std::int64_t width = net.config.hidden_sizes.back();
  net.config.labels = std::move(labels);
  net.head = torch::nn::Linear(width, static_cast<std::int64_t>(net.config.labels.size()));
  node(network_, "classifier")->replace_module("1", net.head);
  const at::NoGradGuard no_grad;
  draw("classifier.1.weight", net.head->weight, width, seed);
  draw("classifier.1.bias", net.head->bias, width, seed);
}

void ResNet::rename_labels(std::vector<std::string> labels) {
  Network& net = *network_;
  if (labels.size() != net.config.labels.size())
    throw InternalError(fmt::format("{} names for {} classes", labels.size(), net.config.labels.size()));
  net.config.labels = std::move(labels);
}

void ResNet::use_batch_statistics(bool on) { network_->train(on); }

void ResNet::estimate_statistics(std::int64_t batches, const std::function<at::Tensor(std::int64_t)>& batch) {
  const at::NoGradGuard no_grad;
  std::vector<torch::nn::BatchNorm2dImpl*> norms;
  for (const auto& module : network_->modules())
    if (auto* const norm = module->as<torch::nn::BatchNorm2dImpl>()) norms.push_back(norm);
  const bool training = network_->is_training();
  network_->train();
  for (auto* const norm : norms) norm->num_batches_tracked.zero_();
  for (std::int64_t i = 0; i < batches; ++i) {
    // The first batch replaces what was there, the i-th counts 1 / (i + 1).
    for (auto* const norm : norms) norm->options.momentum(1 / static_cast<double>(i + 1));
    logits(batch(i));
  }
  for (auto* const norm : norms) norm->options.momentum(torch::nn::BatchNormOptions(1).momentum());
  network_->train(training);
}

const ResNetConfig& ResNet::config() const { return network_->config; }

Module& ResNet::network() { return *network_; }

std::vector<lora::NamedTensor> ResNet::named_parameters() const {
  std::vector<lora::NamedTensor> result;
  for (const auto& item : network_->named_parameters()) result.push_back({item.key(), item.value()});
  return result;
}

std::vector<lora::NamedTensor> ResNet::named_buffers() const {
  std::vector<lora::NamedTensor> result;
  for (const auto& item : network_->named_buffers()) result.push_back({item.key(), item.value()});
  return result;
}

at::Tensor ResNet::logits(const at::Tensor& pixels) {
  Network& net = *network_;
  if (pixels.dim() != 4 || pixels.size(1) != net.config.num_channels)
    throw ModelError(fmt::format("the network takes pictures [N, {}, height, width], and was given [{}]",
                                 net.config.num_channels, fmt::join(pixels.sizes(), ", ")));
  // A channel of a single value has no variance.
  if (net.is_training() && pixels.size(0) == 1) return logits(at::cat({pixels, pixels})).narrow(0, 0, 1);
  at::Tensor h = at::max_pool2d(net.stem.forward(pixels).relu(), {3, 3}, {2, 2}, {1, 1});
  for (Block& one : net.blocks) h = one.forward(h);
  return kernels::lora_linear(h.mean({2, 3}), kernels::BaseWeight::dense(net.head->weight, net.head->bias), {},
                              nullptr);
}

}  // namespace lowrank::models
