#include "lowrank/lora/inject.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/low_rank_product.h"
#include "lowrank/lora/conv_slot.h"
#include "lowrank/lora/init.h"
#include "lowrank/lora/match.h"
#include "lowrank/lora/peft_tensors.h"

namespace lowrank::lora {

/// One adapted weight.
struct Injected::Place {
  enum class Kind { kMatrix, kEmbedding, kConvolution };
  std::string path;       // what the config's rules see
  std::string file_name;  // what stands before .lora_A in a file
  Kind kind = Kind::kMatrix;
  std::shared_ptr<torch::nn::Module> owner;  // keeps `member` alive
  at::Tensor* member = nullptr;              // the tensor that the module's forward reads
  at::Tensor parameter;                      // what is registered there: W
  at::Tensor original;                       // its bytes while merged
  std::int64_t groups = 1;
  std::function<void(std::int64_t)> set_groups;
  LoraMatrices lora;

  at::Tensor product() const { return kernels::low_rank_product(lora.b.unsqueeze(0), lora.a.unsqueeze(0)).squeeze(0); }
  at::Tensor composed() const {
    const at::ScalarType dtype = parameter.scalar_type();
    const at::ScalarType wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
    at::Tensor base = parameter.detach().to(wide), delta;
    switch (kind) {
      case Kind::kMatrix:
        delta = product().mul(lora.scale);
        break;
      case Kind::kEmbedding:
        delta = product().t().mul(lora.scale);
        break;
      case Kind::kConvolution:
        base = without_groups(base, groups);
        delta = conv_delta(lora, groups);
        break;
    }
    return base.add(delta).to(dtype);
  }
  void put(const at::Tensor& weight, bool grouped) {
    *member = weight;
    if (set_groups) set_groups(grouped ? groups : 1);
  }
};

namespace {

using torch::nn::Module;

// A module that can be adapted, and how.
struct Candidate {
  std::string path;
  std::shared_ptr<Module> module;
};

bool adaptable(Module& module) {
  return module.as<torch::nn::LinearImpl>() != nullptr || module.as<torch::nn::Conv1dImpl>() != nullptr ||
         module.as<torch::nn::Conv2dImpl>() != nullptr || module.as<torch::nn::EmbeddingImpl>() != nullptr ||
         module.as<torch::nn::MultiheadAttentionImpl>() != nullptr;
}

struct Survey {
  std::vector<Candidate> candidates;
  std::vector<std::string> linears, others;  // of the candidates; modules that are none
};

Survey survey(Module& network) {
  Survey result;
  std::set<const Module*> seen, inside_attention;
  for (const auto& item : network.named_modules("", /*include_self=*/false)) {
    Module& module = *item.value();
    if (auto* attention = module.as<torch::nn::MultiheadAttentionImpl>())
      inside_attention.insert(attention->out_proj.get());
    // A module that is reached by two paths is adapted once, by its first.
    const bool usable = adaptable(module) && inside_attention.count(&module) == 0 && seen.insert(&module).second;
    if (usable) {
      result.candidates.push_back({item.key(), item.value()});
      if (module.as<torch::nn::LinearImpl>() != nullptr) result.linears.push_back(item.key());
    } else {
      result.others.push_back(item.key());
    }
  }
  return result;
}

std::vector<std::string> paths_of(const Survey& found) {
  std::vector<std::string> paths;
  for (const Candidate& candidate : found.candidates) paths.push_back(candidate.path);
  return paths;
}

// That a config may name: all-linear is for the Linear modules alone.
std::vector<std::string> paths_for(const LoraConfig& config, const Survey& found) {
  return config.all_linear() ? found.linears : paths_of(found);
}

std::vector<std::string> targets(const LoraConfig& config, const Survey& found) {
  const std::vector<std::string> paths = paths_for(config, found);
  const Match result = match(config, paths, "");
  if (!result.unused_targets.empty())
    throw ConfigError(fmt::format("target_modules: no module that can be adapted is named '{}'{}; the network has {}",
                                  core::printable(result.unused_targets.front()),
                                  core::did_you_mean(result.unused_targets.front(), paths), fmt::join(paths, ", ")));
  if (!result.unused_excludes.empty())
    throw ConfigError(fmt::format("exclude_modules: '{}' excludes nothing{}; the network has {}",
                                  core::printable(result.unused_excludes.front()),
                                  core::did_you_mean(result.unused_excludes.front(), paths), fmt::join(paths, ", ")));
  if (!result.absent_layers.empty())
    throw ConfigError(fmt::format("layers_to_transform has {}, which no target has", result.absent_layers.front()));
  if (result.modules.empty())
    throw ConfigError(
        std::any_of(paths.begin(), paths.end(), [&](const std::string& path) { return config.saves_whole(path); })
            ? "no module is left to adapt: every target is saved whole (modules_to_save)"
            : "the network has no module to adapt: no Linear, Conv1d, Conv2d, Embedding or "
              "MultiheadAttention is targeted");
  return result.modules;
}

template <typename Conv>
std::function<void(std::int64_t)> group_setter(Conv* conv) {
  return [conv](std::int64_t groups) { conv->options.groups(groups); };
}

std::string owner_of(const std::string& tensor) {  // "fc" of "fc.weight"
  const std::size_t dot = tensor.rfind('.');
  return dot == std::string::npos ? "" : tensor.substr(0, dot);
}

void check_saved_whole(const Module& network, const LoraConfig& config) {
  std::vector<std::string> all;
  for (const auto& item : network.named_parameters()) all.push_back(owner_of(item.key()));
  for (const std::string& entry : config.modules_to_save) {
    LoraConfig one;
    one.modules_to_save = {entry};
    if (std::none_of(all.begin(), all.end(), [&](const std::string& path) { return one.saves_whole(path); }))
      throw ConfigError(fmt::format("modules_to_save: no module with parameters is named '{}'{}",
                                    core::printable(entry), core::did_you_mean(entry, all)));
  }
  for (const auto& item : network.named_buffers())
    if (config.saves_whole(owner_of(item.key())))
      throw ConfigError(
          fmt::format("modules_to_save takes in '{}', which is no parameter and cannot be trained or saved "
                      "beside an adapter; name the modules around it",
                      item.key()));
}

// Where a weight is registered a second time, by another path: composing one would untie them.
void check_tied(const Module& network, const std::string& path, const at::Tensor& weight) {
  std::vector<std::string> names;
  for (const auto& item : network.named_parameters())
    if (item.value().is_same(weight)) names.push_back(item.key());
  if (names.size() > 1)
    throw ConfigError(
        fmt::format("the weight of {} is shared: {} are one tensor, and an adapter would part them; leave {} "
                    "out of target_modules",
                    path, fmt::join(names, " and "), path));
}

}  // namespace

Injected::Injected() = default;

Injected::Injected(Injected&& other) noexcept
    : config_(std::move(other.config_)),
      places_(std::exchange(other.places_, {})),
      parameters_(std::exchange(other.parameters_, {})),
      required_grad_(std::exchange(other.required_grad_, {})),
      enabled_(other.enabled_),
      merged_(std::exchange(other.merged_, false)) {}

Injected::~Injected() { detach(); }

Injected inject(Module& network, const LoraConfig& config, std::uint64_t seed) {
  config.validate_new();
  if (config.lora_dropout > 0)
    throw ConfigError(
        fmt::format("lora_dropout is {}, but weights that are composed before the forward pass have no adapter "
                    "input to drop; set it to 0, or build the network of LoraLinear and LoraConv2d",
                    config.lora_dropout));
  if (config.use_dora)
    throw ConfigError("use_dora: adapters that are put into a network have no magnitudes; leave DoRA off");
  if (config.init_lora_weights != "default" && config.init_lora_weights != "gaussian")
    throw ConfigError(
        fmt::format("init_lora_weights is '{}'; adapters that are put into a network begin by 'default' or "
                    "'gaussian'",
                    config.init_lora_weights));
  if (config.bias != "none")
    throw ConfigError(
        fmt::format("bias is '{}'; adapters that are put into a network train no biases, but whole modules "
                    "(modules_to_save)",
                    config.bias));
  const Survey found = survey(network);
  const std::vector<std::string> matched = targets(config, found);
  check_saved_whole(network, config);

  Injected result;
  result.config_ = config;
  const auto add = [&](const std::string& path, const std::string& file_name, Injected::Place::Kind kind,
                       const Candidate& candidate, at::Tensor* member, std::int64_t groups,
                       std::function<void(std::int64_t)> set_groups) {
    check_tied(network, path, *member);
    Injected::Place place;
    place.path = path;
    place.file_name = "base_model.model." + file_name;
    place.kind = kind;
    place.owner = candidate.module;
    place.member = member;
    place.parameter = *member;
    place.groups = groups;
    if (groups > 1) place.set_groups = std::move(set_groups);
    const std::int64_t r = config.rank_for(path);
    const at::Tensor& weight = *member;
    const at::ScalarType dtype = weight.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
    if (kind == Injected::Place::Kind::kConvolution)
      place.lora = new_conv_matrices(file_name, weight, groups, r, config.init_lora_weights, seed);
    else if (kind == Injected::Place::Kind::kEmbedding)
      place.lora =
          new_embedding_matrices(file_name, weight.size(0), weight.size(1), r, seed, weight.options().dtype(dtype));
    else
      place.lora = new_matrices(file_name, weight.size(1), weight.size(0), r, config.init_lora_weights, seed,
                                weight.options().dtype(dtype));
    place.lora.scale = config.scale_for(path);
    const char* const tail = kind == Injected::Place::Kind::kEmbedding ? "" : ".weight";
    const char* const middle = kind == Injected::Place::Kind::kEmbedding ? "lora_embedding" : "lora";
    result.parameters_.push_back({fmt::format("{}.{}_A{}", place.file_name, middle, tail), place.lora.a});
    result.parameters_.push_back({fmt::format("{}.{}_B{}", place.file_name, middle, tail), place.lora.b});
    result.places_.push_back(std::move(place));
  };
  for (const Candidate& candidate : found.candidates) {
    const std::string& path = candidate.path;
    if (std::find(matched.begin(), matched.end(), path) == matched.end()) continue;
    using Kind = Injected::Place::Kind;
    if (auto* linear = candidate.module->as<torch::nn::LinearImpl>()) {
      add(path, path, Kind::kMatrix, candidate, &linear->weight, 1, {});
    } else if (auto* conv1 = candidate.module->as<torch::nn::Conv1dImpl>()) {
      add(path, path, Kind::kConvolution, candidate, &conv1->weight, conv1->options.groups(), group_setter(conv1));
    } else if (auto* conv2 = candidate.module->as<torch::nn::Conv2dImpl>()) {
      add(path, path, Kind::kConvolution, candidate, &conv2->weight, conv2->options.groups(), group_setter(conv2));
    } else if (auto* embedding = candidate.module->as<torch::nn::EmbeddingImpl>()) {
      if (embedding->options.max_norm() || embedding->options.sparse())
        throw ConfigError(
            fmt::format("{} has max_norm or sparse gradients, which do not go with a composed weight; leave it "
                        "out of target_modules",
                        path));
      add(path, path, Kind::kEmbedding, candidate, &embedding->weight, 1, {});
    } else if (auto* attention = candidate.module->as<torch::nn::MultiheadAttentionImpl>()) {
      if (!attention->in_proj_weight.defined())
        throw ConfigError(
            fmt::format("{} has keys or values of a width of their own (kdim, vdim), and only the packed "
                        "in_proj of a MultiheadAttention can be adapted; leave it out of target_modules",
                        path));
      add(path, path, Kind::kMatrix, candidate, &attention->in_proj_weight, 1, {});
      add(path, path + ".base_layer.out_proj", Kind::kMatrix, candidate, &attention->out_proj->weight, 1, {});
    }
  }
  for (const auto& item : network.named_parameters()) {
    result.required_grad_.emplace_back(item.value(), item.value().requires_grad());
    const bool whole = config.saves_whole(owner_of(item.key()));
    at::Tensor(item.value()).set_requires_grad(whole);
    if (whole) result.parameters_.push_back({"base_model.model." + item.key(), item.value()});
  }
  LoraConfig kept = config;
  if (config.all_linear()) kept.target_modules = matched;
  result.config_ = with_portable_targets(std::move(kept), matched, paths_of(found), found.others, "");
  result.config_.task_type.clear();  // PEFT wraps a causal language model differently
  result.compose();
  return result;
}

std::vector<std::string> Injected::modules() const {
  std::vector<std::string> result;
  for (const Place& place : places_)
    if (result.empty() || result.back() != place.path) result.push_back(place.path);
  return result;
}

std::vector<at::Tensor> Injected::parameters() const {
  std::vector<at::Tensor> result;
  for (const NamedTensor& parameter : parameters_) result.push_back(parameter.tensor);
  return result;
}

void Injected::compose() {
  if (merged_) {
    if (at::GradMode::is_enabled())
      throw ConfigError(
          "the adapters are merged and get no gradient; call unmerge() first, or compose() under NoGradGuard");
    return;
  }
  for (Place& place : places_) {
    if (enabled_)
      place.put(place.composed(), false);
    else
      place.put(place.parameter, true);
  }
}

void Injected::set_enabled(bool enabled) {
  unmerge();
  enabled_ = enabled;
  compose();
}

void Injected::merge() {
  if (merged_ || !enabled_) return;
  const at::NoGradGuard no_grad;
  for (Place& place : places_) {
    const at::Tensor sum = place.composed();
    place.original = place.parameter.detach();
    place.parameter.set_data(sum);
    place.put(place.parameter, false);
  }
  merged_ = true;
}

void Injected::unmerge() {
  if (!merged_) return;
  for (Place& place : places_) {
    place.parameter.set_data(place.original);
    place.original = at::Tensor();
  }
  merged_ = false;
  compose();
}

void Injected::put_back() {
  for (auto& [parameter, required] : required_grad_) parameter.set_requires_grad(required);
  required_grad_.clear();
  places_.clear();
  parameters_.clear();
  merged_ = false;
}

void Injected::detach() {
  if (places_.empty()) return;
  for (Place& place : places_) {
    if (merged_) place.parameter.set_data(place.original);
    place.put(place.parameter, true);
  }
  put_back();
}

void Injected::merge_and_detach() {
  merge();
  put_back();
}

Match targets_in(Module& network, const LoraConfig& config) { return match(config, paths_for(config, survey(network)), ""); }

void save_injected(const Injected& injected, const std::filesystem::path& directory) {
  write_peft(injected.named_parameters(), injected.config(), directory);
}

Injected load_injected(Module& network, const std::filesystem::path& directory) {
  LoraConfig config = read_adapter_config(directory);
  config.lora_dropout = 0;  // acts in training alone; a network's own weights have no adapter input to drop
  if (config.init_lora_weights != "gaussian") config.init_lora_weights = "default";  // the file has them
  Injected injected = inject(network, config);
  read_peft_tensors(injected.named_parameters(), directory);
  injected.compose();
  return injected;
}

}  // namespace lowrank::lora
