// Adapters and checkpoints.
#include <ATen/core/Tensor.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/config.h"
#include "lowrank/lora/mlx_adapter.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/lora/target_parameters.h"
#include "lowrank/recipes/inspection/inspect.h"
#include "lowrank/train/checkpoint.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;

/// Squared Frobenius norms.
struct Norms {
  double a = 0, b = 0, delta = 0;
  std::int64_t modules = 0;
  void operator+=(const Norms& other) {
    a += other.a;
    b += other.b;
    delta += other.delta;
    modules += other.modules;
  }
};

/// "base_model.model.model.layers.3.mlp.up_proj.lora_A.weight" and `end` ".lora_A" -> "model.layers.3.mlp.up_proj".
std::string module_of(const std::string& key, const std::string& end) {
  const std::string prefix = "base_model.model.";
  const std::size_t begin = key.compare(0, prefix.size(), prefix) == 0 ? prefix.size() : 0;
  return key.substr(begin, key.find(end) - begin);
}

/// "base_model.model.model.layers.3.self_attn.q_proj.base_layer.bias" -> "model.layers.3.self_attn.q_proj.bias";
/// nothing for a copy of the base's own weight, which PEFT saves with an adapted embedding or head.
std::optional<std::string> copy_of(std::string key) {
  if (key.ends_with(".base_layer.weight")) return std::nullopt;
  for (const std::string part : {"base_model.model.", ".base_layer"}) {
    const std::size_t at = key.find(part);
    if (at != std::string::npos) key.erase(at, part.size());
  }
  return key;
}

/// The first part of a module's path that is a number, or -1 (the head, say).
std::int64_t layer_of(const std::string& module) {
  for (std::size_t begin = 0; begin < module.size();) {
    const std::size_t end = std::min(module.find('.', begin), module.size());
    const std::string part = module.substr(begin, end - begin);
    if (!part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string::npos)
      return std::stoll(part);
    begin = end + 1;
  }
  return -1;
}

/// ‖BA‖² without forming BA: Σ (BᵀB)∘(AAᵀ), r×r each.
Norms norms_of(const at::Tensor& a, const at::Tensor& b, double scale) {
  const at::Tensor a64 = a.to(at::kDouble), b64 = b.to(at::kDouble);
  const at::Tensor gram_a = a64.matmul(a64.t()), gram_b = b64.t().matmul(b64);
  return {gram_a.trace().item<double>(), gram_b.trace().item<double>(),
          scale * scale * std::max(0.0, gram_a.mul(gram_b).sum().item<double>()), 1};
}

/// Of the experts that a pair on "….experts[.base_layer…]" holds, as PEFT nests the wrappers of several parameters: the
/// parameter's name, or nothing where it is no such pair.
std::string parameter_of(std::string& module, const lora::LoraConfig& config) {
  std::size_t inside = 0;
  for (const std::string wrapper = ".base_layer"; module.ends_with(wrapper); ++inside)
    module.resize(module.size() - wrapper.size());
  const std::vector<std::string> parameters =
      lora::match_parameters(config.target_parameters, {module + ".gate_up_proj", module + ".down_proj"});
  if (!module.ends_with("experts") || inside >= parameters.size()) return "";
  return parameters[parameters.size() - 1 - inside].substr(module.size() + 1);
}

/// Of all experts together: A [E r, in] by expert and rank, B [out, r E] by rank and expert.
Norms norms_of_experts(const at::Tensor& a, const at::Tensor& b, std::int64_t r, double scale) {
  Norms sum;
  const std::int64_t experts = a.size(0) / r;
  const at::Tensor by_a = a.view({experts, r, -1}), by_b = b.view({b.size(0), r, experts});
  for (std::int64_t e = 0; e < experts; ++e) sum += norms_of(by_a.select(0, e), by_b.select(2, e), scale);
  sum.modules = 1;
  return sum;
}

std::string list_or_regex(const std::variant<std::vector<std::string>, std::string>& modules) {
  if (const auto* regex = std::get_if<std::string>(&modules)) return "regex " + *regex;
  return fmt::format("{}", fmt::join(std::get<std::vector<std::string>>(modules), ", "));
}

Json to_json(const std::variant<std::vector<std::string>, std::string>& modules) {
  if (const auto* regex = std::get_if<std::string>(&modules)) return *regex;
  return std::get<std::vector<std::string>>(modules);
}

/// What the tensors of an adapter hold.
struct Contents {
  std::int64_t tensors = 0, parameters = 0;
  std::uint64_t bytes = 0;
  std::map<std::int64_t, Norms> layers;
  Norms all;
  std::vector<std::string> whole;  // trained copies: names without "base_model.model."
  std::int64_t whole_parameters = 0;
  std::vector<std::string> not_finite;
};

Contents read_contents(const std::shared_ptr<const formats::SafetensorsFile>& file, const lora::LoraConfig& config) {
  Contents contents;
  for (const formats::TensorInfo& info : file->header().tensors) {
    const at::Tensor tensor = formats::tensor_view(file, info);
    ++contents.tensors;
    contents.parameters += tensor.numel();
    contents.bytes += info.end - info.begin;
    if (!tensor.isfinite().all().item<bool>()) contents.not_finite.push_back(info.name);
    if (info.name.find(".lora_") == std::string::npos) {
      if (const auto rows = lora::parse_token_rows_name(info.name)) {
        contents.whole.push_back(fmt::format("{} ({})", *rows, core::counted(tensor.size(0), "row")));
        contents.whole_parameters += tensor.numel();
      } else if (const auto copy = copy_of(info.name)) {
        contents.whole.push_back(*copy);
        contents.whole_parameters += tensor.numel();
      }
      continue;
    }
    std::string marker = ".lora_A", partner = info.name;
    std::size_t at = info.name.find(".lora_A.");
    if (at == std::string::npos) at = info.name.find(marker = ".lora_embedding_A");
    if (at == std::string::npos) continue;
    partner[at + marker.size() - 1] = 'B';
    const formats::TensorInfo* b = file->find(partner);
    if (b == nullptr || b->shape.size() != 2 || info.shape.size() != 2 || b->shape[1] != info.shape[0]) continue;
    std::string module = module_of(info.name, marker);
    const std::string parameter = parameter_of(module, config);
    if (!parameter.empty()) module += "." + parameter;
    // By what the config's patterns know it.
    const std::vector<std::string> weight = lora::match_parameters(config.target_parameters, {module + ".weight"});
    const std::int64_t rank = config.rank_for(weight.empty() ? module : weight.front());
    const double scale = config.scale_for(weight.empty() ? module : weight.front());
    const at::Tensor other = formats::tensor_view(file, *b);
    const Norms norms = parameter.empty() || tensor.size(0) % rank != 0 ? norms_of(tensor, other, scale)
                                                                        : norms_of_experts(tensor, other, rank, scale);
    contents.layers[layer_of(module)] += norms;
    contents.all += norms;
  }
  return contents;
}

std::string number(double squared) { return fmt::format("{:.4g}", std::sqrt(squared)); }

}  // namespace

Inspection inspect_adapter(const fs::path& directory, bool tensors) {
  const lora::LoraConfig config = lora::read_adapter_config(directory);
  const fs::path weights = lora::adapter_weights(directory);
  const auto file = lora::is_mlx_adapter(directory) ? lora::read_mlx(directory, {}).file
                                                    : formats::SafetensorsFile::open(weights);
  const Contents contents = read_contents(file, config);

  Inspection result;
  Json layers = Json::array();
  std::vector<std::vector<std::string>> rows;
  for (const auto& [layer, norms] : contents.layers) {
    layers.push_back({{"layer", layer < 0 ? Json(nullptr) : Json(layer)},
                      {"modules", norms.modules},
                      {"norm_a", std::sqrt(norms.a)},
                      {"norm_b", std::sqrt(norms.b)},
                      {"norm_delta", std::sqrt(norms.delta)}});
    rows.push_back({layer < 0 ? "other" : std::to_string(layer), std::to_string(norms.modules), number(norms.a),
                    number(norms.b), number(norms.delta)});
  }
  Json& json = result.json;
  json = {{"kind", "adapter"},
          {"path", directory.string()},
          {"base", config.base_model_name_or_path},
          {"rank", config.r},
          {"alpha", config.lora_alpha},
          {"dropout", config.lora_dropout},
          {"rslora", config.use_rslora},
          {"dora", config.use_dora},
          {"targets", to_json(config.target_modules)},
          {"modules_to_save", config.modules_to_save},
          {"bias", config.bias},
          {"whole", contents.whole},
          {"whole_parameters", contents.whole_parameters},
          {"modules", contents.all.modules},
          {"tensors", contents.tensors},
          {"parameters", contents.parameters},
          {"bytes", contents.bytes},
          {"finite", contents.not_finite.empty()},
          {"not_finite", contents.not_finite},
          {"trained", contents.all.delta > 0 || !contents.whole.empty()},
          {"layers", layers}};

  std::string text = core::fields({
      {"adapter", directory.string()},
      {"base", config.base_model_name_or_path.empty() ? "not named" : config.base_model_name_or_path},
      {"rank", fmt::format("{}, alpha {:g}{}{}, dropout {:g}{}", config.r, config.lora_alpha,
                           config.use_rslora ? " (rsLoRA)" : "", config.use_dora ? ", DoRA" : "", config.lora_dropout,
                           config.rank_pattern.empty() ? "" : ", with a rank pattern")},
      {"targets", list_or_regex(config.target_modules) +
                      (config.target_parameters.empty()
                           ? ""
                           : fmt::format("; parameters {}", fmt::join(config.target_parameters, ", ")))},
      {"parameters", fmt::format("{} in {} modules, {}", core::format_count(contents.parameters), contents.all.modules,
                                 core::format_bytes(contents.bytes))},
      {"values", contents.not_finite.empty()
                     ? (contents.all.delta > 0 || !contents.whole.empty()
                            ? "all finite"
                            : "all finite; s·BA is zero, so it changes nothing (not trained?)")
                     : fmt::format("NaN or infinite in {}", fmt::join(contents.not_finite, ", "))},
  });
  if (!contents.whole.empty()) {
    text += core::fields(
        {{"whole     ",
          fmt::format(
              "{} parameters in {} tensors trained beside A and B (modules_to_save: {}; bias: {}{})",
              core::format_count(contents.whole_parameters), contents.whole.size(),
              config.modules_to_save.empty() ? "none" : fmt::format("{}", fmt::join(config.modules_to_save, ", ")),
              config.bias,
              config.trainable_token_indices.empty() ? "" : "; trainable_token_indices")}});
  }
  if (!rows.empty()) text += "\n" + core::table({"layer", "modules", "‖A‖", "‖B‖", "‖s·BA‖"}, rows);
  if (tensors) {
    const Inspection listed = inspect_safetensors(weights);
    json["tensor_list"] = listed.json["tensor_list"];
    text += "\n" + listed.text;
  }
  result.text = std::move(text);
  return result;
}

Inspection inspect_checkpoint(const fs::path& directory, bool tensors) {
  // "dir/" has no filename, and the step is read from the name.
  const fs::path checkpoint = directory.has_filename() ? directory : directory.parent_path();
  const std::string fault = train::checkpoint_fault(fs::absolute(checkpoint).lexically_normal());
  Inspection result;
  result.json = {{"kind", "checkpoint"}, {"path", checkpoint.string()}, {"valid", fault.empty()}};
  std::vector<std::pair<std::string, std::string>> rows = {
      {"checkpoint", checkpoint.string()}, {"manifest", fault.empty() ? "valid" : "NOT valid: " + fault}};
  if (!fault.empty()) result.json["fault"] = fault;
  try {
    const train::CheckpointState state = train::read_checkpoint_state(checkpoint);
    result.json["step"] = state.step;
    result.json["tokens"] = state.tokens;
    result.json["last_loss"] = state.last_loss;
    result.json["best_step"] = state.best_loss ? Json(state.best_step) : Json(nullptr);
    result.json["best_loss"] = state.best_loss ? Json(*state.best_loss) : Json(nullptr);
    rows.emplace_back("step", fmt::format("{}, {}, loss {:.4f}", core::format_count(state.step),
                                          core::counted(state.tokens, "token"), state.last_loss));
    rows.emplace_back("best", state.best_loss
                                  ? fmt::format("step {}, validation loss {:.4f}", state.best_step, *state.best_loss)
                                  : "no validation");
  } catch (const Error& error) {
    if (fault.empty()) throw;
    rows.emplace_back("state", std::string("not readable: ") + error.what());
  }
  result.text = core::fields(rows);
  if (!fault.empty()) return result;  // its adapter is not to be trusted
  const bool adapter = fs::exists(checkpoint / "adapter_config.json");
  const Inspection inside = adapter ? inspect_adapter(checkpoint, tensors) : inspect_model(checkpoint, tensors);
  result.json[adapter ? "adapter" : "model"] = inside.json;
  result.text += "\n" + inside.text;
  return result;
}

}  // namespace lowrank::recipes
