#include "lowrank/recipes/merge.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/merged_card.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

models::DTypeChoice dtype_of_files(const fs::path& model) {
  const auto weights = formats::WeightFiles::open(model);
  std::uint64_t brain = 0;
  for (const std::string& name : weights.names()) {
    const formats::TensorInfo& info = *weights.find(name)->info;
    if (info.dtype == formats::DType::kBF16) brain += info.end - info.begin;
  }
  return 2 * brain > weights.total_bytes() ? models::DTypeChoice::kBFloat16 : models::DTypeChoice::kFloat32;
}

std::optional<formats::DType> dtype_to_write(const std::string& name) {
  if (name == "auto") return std::nullopt;
  if (name == "float32") return formats::DType::kF32;
  if (name == "float16") return formats::DType::kF16;
  if (name == "bfloat16") return formats::DType::kBF16;
  throw FieldError("dtype", fmt::format("'{}' is no type of a safetensors model; expected auto, float32, float16 or bfloat16 (blocks of 4 and 8 bits are a GGUF file's)",
                                        core::printable(name)));
}

std::string what_is_written(const lora::Adapter& adapter) {
  std::string text = adapter.config().use_dora ? "round(m/n · (W + s·BA))" : "round(W + s·BA)";
  if (!adapter.token_rows().empty()) text += ", the trained rows";
  if (!adapter.whole().empty()) text += " and the trained copies, rounded once";
  return text;
}

namespace {

core::Json report_of(const MergeResult& merged, const models::LoadedModel& model, const lora::Adapter& adapter,
                     const fs::path& out, const std::string& probe) {
  const lora::MergeReport& report = merged.report;
  return {
      {"lowrank", LOWRANK_VERSION},
      {"model", model.name},
      {"adapter", adapter.directory().string()},
      {"out", out.string()},
      {"files", report.files},
      {"tensors", report.tensors},
      {"changed_tensors", report.changed},
      {"elements", report.elements},
      {"bytes", report.bytes},
      {"untied", report.untied},
      {"verified", true},
      {"probe",
       {{"text", probe},
        {"tokens", merged.probe_tokens},
        {"dtype", models::dtype_name(model.decoder->dtype())},
        {"max_logit_difference", merged.error.largest},
        {"mean_kl", merged.error.kl},
        {"adapter_max_logit_change", merged.effect.largest},
        {"adapter_mean_kl", merged.effect.kl}}},
  };
}

}  // namespace

MergeResult merge(const models::LoadedModel& model, lora::Adapter& adapter, const fs::path& out,
                  const std::string& probe, core::ProgressObserver& progress, std::optional<formats::DType> dtype) {
  const core::OutputLock lock(out);
  // What base + adapter says, before anything is written.
  const std::vector<data::TokenId> ids = probe_ids(model, probe);
  MergeResult result;
  result.probe_tokens = static_cast<std::int64_t>(ids.size());
  const at::Tensor with_adapter = probe_logits(*model.decoder, ids);
  adapter.set_enabled(false);
  result.effect = difference(probe_logits(*model.decoder, ids), with_adapter);
  adapter.set_enabled(true);

  lora::merge_files(model.path, adapter, out, &progress, [&](const fs::path& made, const lora::MergeReport& report) {
    lora::verify_merge(model.path, adapter, made, &progress, dtype);
    models::LoadOptions load;
    load.dtype =
        model.decoder->dtype() == at::kBFloat16 ? models::DTypeChoice::kBFloat16 : models::DTypeChoice::kFloat32;
    const models::LoadedModel merged = models::load(made.string(), load);
    result.error = difference(with_adapter, probe_logits(*merged.decoder, ids));
    result.report = report;
    result.json = report_of(result, model, adapter, out, probe);
    result.json["dtype"] = dtype ? core::Json(std::string(formats::dtype_name(*dtype))) : core::Json("as in the files");
    core::write_file(made / "README.md", merged_card(model, adapter, result));
    core::write_file(made / "merge_report.json",
                     core::json_text(result.json, 2) + "\n");
  }, dtype);
  return result;
}

}  // namespace lowrank::recipes
