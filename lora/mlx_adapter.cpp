#include "lowrank/lora/mlx_adapter.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/formats/scratch_safetensors.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/tying.h"

namespace lowrank::lora {
namespace {

namespace fs = std::filesystem;
using formats::TensorInfo;

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kWeights = "adapters.safetensors";
constexpr std::string_view kSwitch = ".switch_mlp.";

struct Half {
  const TensorInfo* a = nullptr;
  const TensorInfo* b = nullptr;
  const TensorInfo* m = nullptr;
};

std::shared_ptr<const formats::SafetensorsFile> open_file(const fs::path& directory) {
  if (!fs::exists(directory / kWeights))
    throw MissingError(fmt::format("there is no '{}', which holds the weights of an mlx-lm adapter",
                                   (directory / kWeights).string()));
  return formats::SafetensorsFile::open(directory / kWeights);
}

[[noreturn]] void fail(const formats::SafetensorsFile& file, const TensorInfo& info, const std::string& problem) {
  throw ModelError(fmt::format("{}: '{}' {}", file.path().string(), core::printable(info.name, 200), problem));
}

// By the path of the layer, in mlx-lm's words.
std::map<std::string, Half> halves_of(const formats::SafetensorsFile& file) {
  std::map<std::string, Half> result;
  for (const TensorInfo& info : file.header().tensors) {
    const std::size_t dot = info.name.rfind('.');
    const std::string path = info.name.substr(0, dot), end = dot == std::string::npos ? "" : info.name.substr(dot + 1);
    Half& half = result[path];
    if (end == "lora_a")
      half.a = &info;
    else if (end == "lora_b")
      half.b = &info;
    else if (end == "m")
      half.m = &info;
    else
      fail(file, info, "is neither lora_a, lora_b nor m: only low-rank adapters of mlx-lm are read");
  }
  if (result.empty()) throw ModelError(fmt::format("{}: it holds no tensors", file.path().string()));
  for (const auto& [path, half] : result) {
    const TensorInfo* const there = half.a != nullptr ? half.a : half.b != nullptr ? half.b : half.m;
    if (half.a == nullptr || half.b == nullptr)
      fail(file, *there, fmt::format("has no {} beside it", half.a == nullptr ? "lora_a" : "lora_b"));
    const std::size_t dims = half.a->shape.size();
    if ((dims != 2 && dims != 3) || half.b->shape.size() != dims)
      fail(file, *half.a, "and lora_b must both be matrices, or both those of experts");
  }
  return result;
}

// mlx-lm: of a layer [in, r] and [r, out]; of experts [E, r, in] and [E, out, r].
std::int64_t rank_of(const Half& half) { return half.a->shape[1]; }

bool of_experts(const Half& half) { return half.a->shape.size() == 3; }

LoraConfig config_of(const fs::path& directory, const std::map<std::string, Half>& halves) {
  const fs::path place = directory / kConfig;
  core::JsonLimits limits;
  limits.max_bytes = 16 << 20;
  const core::Json document = core::read_json(place, limits);
  const core::JsonView json(document, place.string());
  const std::string type = json.get_string("fine_tune_type", "lora");
  if (type != "lora" && type != "dora")
    json.fail(fmt::format("fine_tune_type is '{}': {}", core::printable(type),
                          type == "full" ? "the file holds whole weights and no adapter; fuse them into a model with "
                                           "mlx_lm.fuse, and give that as MODEL"
                                         : "only lora and dora are known"));
  if (!json.has_value("lora_parameters")) json.fail("lora_parameters is missing, which says the scale");
  const core::JsonView parameters = json.at("lora_parameters");
  if (!parameters.has_value("scale")) parameters.fail("scale is missing; mlx-lm writes it");
  const double scale = parameters.at("scale").as_double();
  if (!std::isfinite(scale)) parameters.at("scale").fail("expected a finite number");
  LoraConfig config;
  config.use_dora = type == "dora";
  config.r = rank_of(halves.begin()->second);
  config.lora_alpha = scale * static_cast<double>(config.r);
  if (parameters.has_value("dropout")) config.lora_dropout = parameters.at("dropout").as_double();
  config.base_model_name_or_path = json.get_string("model", "");
  std::vector<std::string> targets;
  for (const auto& [path, half] : halves) {
    if (of_experts(half)) continue;
    targets.push_back(path);
    if (rank_of(half) == config.r) continue;
    config.rank_pattern.emplace_back(path, rank_of(half));
    config.alpha_pattern.emplace_back(path, scale * static_cast<double>(rank_of(half)));
  }
  config.target_modules = targets;
  return config;
}

// Turned into PEFT's names and shapes.
class Converter {
 public:
  Converter(std::shared_ptr<const formats::SafetensorsFile> file, const SlotTable& table)
      : file_(std::move(file)), table_(table) {}

  void add_layer(const std::string& path, const Half& half) {
    const auto last = [](const std::string& text) { return text.substr(text.rfind('.') + 1); };
    const bool embedding = table_.embedding != nullptr && last(path) == last(table_.embedding->path());
    adapts_embedding_ = adapts_embedding_ || embedding;
    if (embedding && half.m != nullptr)
      fail(*file_, *half.m, "is DoRA's magnitude of an embedding by rows, which PEFT has by columns: such an adapter "
                            "cannot be read; train it without the embedding");
    put(peft_name(path, LoraPart::kA, embedding), value(*half.a).t());
    put(peft_name(path, LoraPart::kB, embedding), value(*half.b).t());
    if (half.m != nullptr) put(peft_name(path, LoraPart::kMagnitude), value(*half.m));
  }

  // One tensor of all experts, under the names that older files have for each.
  void add_experts(const std::string& path, const Half& half, LoraConfig& config) {
    const std::size_t at = path.find(kSwitch);
    if (at == std::string::npos || half.m != nullptr)
      fail(*file_, *half.a, half.m != nullptr ? "is of DoRA on experts, which PEFT does not have"
                                              : "is of several matrices, but no layer of experts (switch_mlp)");
    const std::string owner = path.substr(0, at) + ".experts", layer = path.substr(at + kSwitch.size());
    static const std::vector<std::string> order = {"gate_proj", "up_proj", "down_proj"};
    const auto which = std::find(order.begin(), order.end(), layer) - order.begin();
    std::int64_t passed = 0;
    const ExpertsSlotImpl* found = nullptr;
    std::string part;
    for (const ExpertsSlot& slot : table_.experts) {
      if (number(slot->base().owner) != number(owner)) continue;
      for (const std::string& name : slot->base().parts)
        if (passed++ == which) found = slot.get(), part = name;
    }
    if (found == nullptr) fail(*file_, *half.a, "has no experts of this model that it belongs to");
    const at::Tensor a = value(*half.a), b = value(*half.b);
    for (std::int64_t e = 0; e < a.size(0); ++e) {
      const std::string name = fmt::format("{}.{}.{}", found->base().owner, e, part);
      put(peft_name(name, LoraPart::kA), a.select(0, e));
      put(peft_name(name, LoraPart::kB), b.select(0, e));
    }
    const auto& known = config.target_parameters;
    if (std::find(known.begin(), known.end(), found->path()) != known.end()) return;
    config.target_parameters.push_back(found->path());
    // PEFT fuses the pairs of the layers of one parameter into one of their ranks together.
    const auto times = static_cast<std::int64_t>(found->base().parts.size());
    const double scale = config.lora_alpha / static_cast<double>(config.r);
    const std::int64_t r = rank_of(half) * times;
    if (r == config.r) return;
    config.rank_pattern.emplace_back(found->path(), r);
    config.alpha_pattern.emplace_back(found->path(), scale * static_cast<double>(r));
  }

  bool adapts_embedding() const { return adapts_embedding_; }
  std::shared_ptr<const formats::SafetensorsFile> done() { return formats::scratch_safetensors(std::move(tensors_)); }

 private:
  at::Tensor value(const TensorInfo& info) const { return formats::tensor_view(file_, info); }
  void put(const std::string& name, const at::Tensor& tensor) {
    tensors_.push_back(formats::tensor_to_write(name, tensor.contiguous()));
  }
  // The first number of a path: its layer.
  static std::string number(const std::string& path) {
    const std::size_t from = path.find_first_of("0123456789");
    return from == std::string::npos ? "" : path.substr(from, path.find_first_not_of("0123456789", from) - from);
  }

  std::shared_ptr<const formats::SafetensorsFile> file_;
  const SlotTable& table_;
  std::vector<formats::TensorToWrite> tensors_;
  bool adapts_embedding_ = false;
};

}  // namespace

bool is_mlx_adapter(const fs::path& directory) {
  const fs::path place = directory / kConfig;
  std::error_code ignored;
  if (!fs::exists(directory / kWeights, ignored) || !fs::exists(place, ignored)) return false;
  const core::Json json = core::read_json(place);
  return json.is_object() && !json.contains("peft_type") &&
         (json.contains("fine_tune_type") || json.contains("lora_parameters"));
}

LoraConfig read_mlx_config(const fs::path& directory) {
  return config_of(directory, halves_of(*open_file(directory)));
}

MlxAdapter read_mlx(const fs::path& directory, const SlotTable& table) {
  const auto file = open_file(directory);
  const std::map<std::string, Half> halves = halves_of(*file);
  MlxAdapter result{config_of(directory, halves), nullptr};
  Converter converter(file, table);
  for (const auto& [path, half] : halves) {
    if (of_experts(half))
      converter.add_experts(path, half, result.config);
    else
      converter.add_layer(path, half);
  }
  if (converter.adapts_embedding() && table.tied) {  // in mlx-lm it acts on the head too
    result.config.ensure_weight_tying = true;
    if (asks_for(result.config, table) == Tied::kNothing)
      throw ModelError(fmt::format("{}: A and B of the embedding {} act on the head that is tied to it, which PEFT has no form for: "
                                   "such an adapter cannot be read; train it without the embedding",
                                   directory.string(), table.embedding->path()));
  }
  try {
    result.config.validate();
  } catch (const ConfigError& error) {
    throw FormatError(fmt::format("{}: {}", (directory / kConfig).string(), error.what()));
  }
  result.file = converter.done();
  return result;
}

fs::path adapter_weights(const fs::path& directory) {
  return directory / (is_mlx_adapter(directory) ? kWeights : "adapter_model.safetensors");
}

}  // namespace lowrank::lora
