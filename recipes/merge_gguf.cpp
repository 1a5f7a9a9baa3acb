#include "lowrank/recipes/merge_gguf.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/gguf_tokens.h"
#include "lowrank/formats/safetensors_torch.h"
#include "lowrank/lora/carried_files.h"
#include "lowrank/lora/merge_plan.h"
#include "lowrank/lora/peft_names.h"
#include "lowrank/models/gguf_architecture.h"
#include "lowrank/models/gguf_keys.h"
#include "lowrank/models/gguf_tensors.h"
#include "lowrank/recipes/merged_card.h"
#include "lowrank/recipes/modelfile.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using formats::GgmlType;

const std::vector<std::pair<std::string, GgmlType>>& types() {
  static const std::vector<std::pair<std::string, GgmlType>> all = {{"float32", GgmlType::kF32},
                                                                    {"float16", GgmlType::kF16},
                                                                    {"bfloat16", GgmlType::kBF16},
                                                                    {"q8_0", GgmlType::kQ8_0},
                                                                    {"q4_0", GgmlType::kQ4_0}};
  return all;
}

GgmlType type_of_files(const fs::path& model) {
  const auto weights = formats::WeightFiles::open(model);
  std::uint64_t brain = 0, half = 0;
  for (const std::string& name : weights.names()) {
    const formats::TensorInfo& info = *weights.find(name)->info;
    if (info.dtype == formats::DType::kBF16) brain += info.end - info.begin;
    if (info.dtype == formats::DType::kF16) half += info.end - info.begin;
  }
  if (2 * brain > weights.total_bytes()) return GgmlType::kBF16;
  return 2 * half > weights.total_bytes() ? GgmlType::kF16 : GgmlType::kF32;
}

/// llama.cpp's general.file_type (LLAMA_FTYPE_*).
std::uint32_t file_type(GgmlType type) {
  switch (type) {
    case GgmlType::kF16:
      return 1;
    case GgmlType::kQ4_0:
      return 2;
    case GgmlType::kQ8_0:
      return 7;
    case GgmlType::kBF16:
      return 32;
    default:
      return 0;
  }
}

/// The last part of the model's name, of characters that stand in file names everywhere.
std::string plain_name(const models::LoadedModel& model) {
  std::string name = fs::path(model.name).filename().string();
  if (name.empty()) name = fs::path(model.name).parent_path().filename().string();
  for (char& c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
          c == '_'))
      c = '-';
  return name.empty() || name[0] == '.' ? "model" : name;
}

lora::MergePlan plan_of(const models::LoadedModel& model, const lora::Adapter* adapter) {
  if (adapter != nullptr) return lora::plan_merge(model.path, *adapter);
  lora::MergePlan plan;
  const lora::SlotTable table = model.decoder->slot_table();
  plan.weights = lora::weights_to_merge(model.path, table.embedding->stored().tensor, lora::head_tensor(table));
  plan.bytes = plan.weights.total_bytes();
  return plan;
}

void append(formats::GgufValues& values, const formats::GgufValues& more) {
  values.insert(values.end(), more.begin(), more.end());
}

/// What stands at the beginning of the file.
formats::GgufValues values_of(const models::LoadedModel& model, const fs::path& folder, const models::GgufKeys& keys,
                              const std::string& name, GgmlType type, GgufResult& result) {
  const models::DecoderConfig& config = model.decoder->config();
  formats::GgufValues values = {{"general.architecture", models::gguf_architecture(config.model_type).name},
                                {"general.type", std::string("model")},
                                {"general.name", name},
                                {"general.file_type", file_type(type)},
                                {"general.quantization_version", std::uint32_t{2}}};
  append(values, keys.values);
  const data::GgufTokenizer tokenizer = data::gguf_tokenizer(folder, config.vocab_size);
  append(values, tokenizer.values);
  result.tokenizer = tokenizer.kind;
  result.notes.insert(result.notes.end(), tokenizer.notes.begin(), tokenizer.notes.end());
  return values;
}

void write_file(const fs::path& file, const formats::GgufValues& values, const models::GgufTensors& listed,
                const models::GgufKeys& keys, const lora::MergePlan& plan, core::ProgressObserver& progress) {
  std::int64_t total = 0, done = 0;
  for (const models::GgufSource& source : listed.sources) {
    std::int64_t count = 1;
    for (const std::int64_t extent : source.shape) count *= extent;
    total += count;
  }
  progress.begin("writing", total, "values");
  std::vector<formats::GgufTensor> tensors;
  for (const models::GgufSource& source : listed.sources)
    tensors.push_back(models::gguf_tensor(source, plan, [&](std::int64_t wrote) { progress.advance(done += wrote); }));
  for (const auto& [name, factors] : keys.factors)
    tensors.push_back({name, factors.sizes().vec(), GgmlType::kF32,
                       [factors = factors](const auto& sink) { sink(formats::tensor_bytes(factors)); }});
  formats::write_gguf(file, values, tensors);
  progress.end();
}

core::Json report_of(const GgufResult& result, const models::LoadedModel& model, const lora::Adapter* adapter,
                     const fs::path& out, GgmlType type, const std::string& probe) {
  return {{"lowrank", LOWRANK_VERSION},
          {"model", model.name},
          {"adapter", adapter == nullptr ? core::Json(nullptr) : core::Json(adapter->directory().string())},
          {"out", out.string()},
          {"into", "gguf"},
          {"file", result.file.string()},
          {"type", std::string(formats::ggml_name(type))},
          {"tensors", result.tensors},
          {"bytes", result.bytes},
          {"tokenizer", result.tokenizer},
          {"notes", result.notes},
          {"probe",
           {{"text", probe},
            {"tokens", result.probe_tokens},
            {"perplexity_before", result.before},
            {"perplexity_after", result.after},
            {"max_logit_difference", result.error.largest},
            {"mean_kl", result.error.kl}}}};
}

}  // namespace

GgmlType gguf_type(const std::string& name, const fs::path& model) {
  if (name == "auto") return type_of_files(model);
  const auto found = std::find_if(types().begin(), types().end(), [&](const auto& one) { return one.first == name; });
  if (found == types().end())
    throw FieldError(
        "dtype", fmt::format("'{}' is no type of a GGUF file; expected auto, float32, float16, bfloat16, q8_0 or q4_0",
                             core::printable(name)));
  return found->second;
}

GgufResult merge_gguf(const models::LoadedModel& model, lora::Adapter* adapter, const fs::path& out, GgmlType type,
                      const std::string& probe, core::ProgressObserver& progress) {
  const fs::path from = adapter == nullptr ? fs::path() : adapter->directory();
  lora::refuse_merge_place(out, model.path, from);
  const core::OutputLock lock(out);
  GgufResult result;
  const models::GgufKeys keys = models::gguf_keys(model.decoder->config());
  const lora::MergePlan plan = plan_of(model, adapter);
  if (plan.untied && !models::gguf_architecture(model.decoder->config().model_type).output)
    throw ModelError(fmt::format(
        "the adapter parts the head from the embedding, and llama.cpp's architecture {} has one tensor for both; "
        "keep the merged model in safetensors",
        models::gguf_architecture(model.decoder->config().model_type).name));
  const models::GgufTensors listed = models::gguf_tensors(*model.decoder, plan, type);
  result.notes = keys.notes;
  result.notes.insert(result.notes.end(), listed.notes.begin(), listed.notes.end());
  if (!model.decoder->beside.empty())
    result.notes.push_back(
        fmt::format("{} tensors that no forward pass of text reads (a picture's encoder) are left out",
                    model.decoder->beside.size()));
  const std::vector<data::TokenId> ids = probe_ids(model, probe);
  result.probe_tokens = static_cast<std::int64_t>(ids.size());
  const at::Tensor before = probe_logits(*model.decoder, ids);
  result.before = perplexity(before, ids);

  core::StagedDirectory staged(out);
  const fs::path restored = staged.path() / "restored";  // the model again, out of the file's values
  core::make_folder(restored);
  lora::carry_files(model.path, from, restored, {plan.untied, plan.vocabulary, "", plan.tied});
  const std::string name = plain_name(model);
  result.file = fmt::format("{}-{}.gguf", name, formats::ggml_name(type));
  const formats::GgufValues values = values_of(model, restored, keys, name, type, result);
  write_file(staged.path() / result.file, values, listed, keys, plan, progress);
  plan.weights.check_unchanged();
  result.bytes = fs::file_size(staged.path() / result.file);
  result.tensors = static_cast<std::int64_t>(listed.sources.size() + keys.factors.size());
  {
    const auto file = formats::GgufFile::open(staged.path() / result.file);
    models::write_back(listed, file, plan, restored / "model.safetensors", &progress);
    models::LoadOptions load;
    load.dtype = models::DTypeChoice::kFloat32;
    const models::LoadedModel again = models::load(restored.string(), load);
    const at::Tensor after = probe_logits(*again.decoder, ids);
    result.after = perplexity(after, ids);
    result.error = difference(before, after);
    core::write_file(staged.path() / "Modelfile", modelfile(result.file.string(), restored, *again.tokenizer));
  }
  std::error_code failed;
  fs::remove_all(restored, failed);
  if (failed) throw IoError(fmt::format("cannot remove {}: {}", restored.string(), failed.message()));
  result.json = report_of(result, model, adapter, out, type, probe);
  core::write_file(staged.path() / "README.md", gguf_card(model, adapter, result, type));
  core::write_file(staged.path() / "merge_report.json",
                   core::json_text(result.json, 2) + "\n");
  staged.commit();
  return result;
}

}  // namespace lowrank::recipes
