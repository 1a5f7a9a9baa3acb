#include "lowrank/models/load_classifier.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/random.h"
#include "lowrank/core/settings_limits.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/host.h"
#include "lowrank/models/description.h"

namespace lowrank::models {
namespace {

namespace fs = std::filesystem;

constexpr const char* kLabelFile = "label2id.json";
constexpr const char* kStoredScore = "score.weight";
constexpr const char* kSavedScore = "base_model.model.score.weight";

}  // namespace

std::int64_t saved_labels(const fs::path& directory, const DecoderImpl& decoder) {
  const fs::path file = directory / "adapter_model.safetensors";
  std::error_code ignored;
  if (!fs::exists(file, ignored))
    throw MissingError(fmt::format("there is no '{}', which holds the adapter's weights", file.string()));
  const auto weights = formats::SafetensorsFile::open(file);
  const formats::TensorInfo* score = weights->find(kSavedScore);
  if (score == nullptr) {
    throw ModelError(
        fmt::format("{}: there is no '{}', so this adapter is no sequence classifier; one comes from `lowrank "
                    "finetune --task classification`, `lowrank align reward`, or PEFT with task_type SEQ_CLS",
                    file.string(), kSavedScore));
  }
  const std::int64_t width = state_width(decoder.config());
  if (score->shape.size() != 2 || score->shape[0] < 1 || score->shape[1] != width) {
    throw ModelError(
        fmt::format("{}: '{}' must have the shape [labels, {}] for this model", file.string(), kSavedScore, width));
  }
  return score->shape[0];
}

SequenceClassifier new_classifier(const LoadedModel& model, std::int64_t labels, std::uint64_t seed) {
  const DecoderConfig& config = model.decoder->config();
  const std::vector<std::int64_t> shape = {labels, state_width(config)};
  const auto* stored = model.weights.find(kStoredScore);
  if (stored != nullptr && stored->info->shape == shape) {
    return {model.decoder, formats::tensor_view(stored->file, *stored->info).to(at::kFloat, false, /*copy=*/true)};
  }
  const core::RandomStream random(seed, "score head");
  std::vector<float> score(static_cast<std::size_t>(labels * state_width(config)));
  for (std::size_t i = 0; i < score.size(); ++i) {
    score[i] = static_cast<float>(config.initializer_range * random.normal(i));
  }
  return {model.decoder, kernels::from_host<float>(score, shape)};
}

std::int64_t own_labels(const LoadedModel& model) {
  const auto* stored = model.weights.find(kStoredScore);
  return stored != nullptr && stored->info->shape.size() == 2 ? stored->info->shape[0] : 0;
}

LoadedClassifier load_classifier(const Decoder& decoder, const fs::path& directory, std::vector<std::string>* notes,
                                 const std::string& name) {
  const std::int64_t labels = saved_labels(directory, *decoder);
  SequenceClassifier classifier(decoder, kernels::aten::zeros({labels, state_width(decoder->config())}, at::kFloat));
  lora::Adapter adapter = lora::load_peft(classifier.slot_table(), directory, notes, name);
  return {std::move(classifier), std::move(adapter)};
}

void write_labels(const fs::path& directory, const std::vector<std::string>& labels) {
  core::Json json = core::Json::object();
  for (std::size_t i = 0; i < labels.size(); ++i) json[labels[i]] = i;
  core::write_file(directory / kLabelFile, core::json_text(json, 2) + "\n");
}

std::vector<std::string> read_labels(const fs::path& directory, std::int64_t count) {
  std::vector<std::string> labels(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < labels.size(); ++i) labels[i] = std::to_string(i);
  core::Json json = nullptr;
  fs::path file = directory / kLabelFile;
  std::error_code ignored;
  if (fs::exists(file, ignored)) {
    json = core::read_json(file, core::kSettings);
  } else if (file = directory / "config.json"; fs::exists(file, ignored)) {
    const core::Json config = core::read_json(file, core::kSettings);
    if (config.is_object() && config.contains("label2id")) json = config["label2id"];
  }
  if (json.is_null()) return labels;
  const core::JsonView view(json, file.string());
  if (!view.is_object() || static_cast<std::int64_t>(view.size()) != count) {
    view.fail(fmt::format("expected an object of {} label names with their numbers, as many as the score head has rows",
                          count));
  }
  std::vector<bool> named(labels.size(), false);
  for (const std::string& label : view.keys()) {
    const auto number = static_cast<std::size_t>(view.at(label).as_int(0, count - 1));
    if (named[number]) view.fail(fmt::format("two labels have the number {}", number));
    named[number] = true;
    labels[number] = label;
  }
  return labels;
}

}  // namespace lowrank::models
