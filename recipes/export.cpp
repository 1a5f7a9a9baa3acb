#include "lowrank/recipes/export.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/export_gguf.h"
#include "lowrank/lora/export_mlx.h"
#include "lowrank/lora/peft_by_expert.h"
#include "lowrank/lora/peft_tensors.h"
#include "lowrank/models/gguf_layout.h"
#include "lowrank/recipes/merge.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/recipes/run/out_folder.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

at::ScalarType type_of(const std::string& name) {
  return name == "float16" ? at::kHalf : name == "bfloat16" ? at::kBFloat16 : at::kFloat;
}

std::uint64_t bytes_of(const fs::path& out) {
  if (!fs::is_directory(out)) return fs::file_size(out);
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(out)) bytes += fs::file_size(entry.path());
  return bytes;
}

void export_peft(const lora::Adapter& adapter, at::ScalarType type, const fs::path& out) {
  lora::LoraConfig config = adapter.config();
  std::vector<lora::NamedTensor> tensors;
  for (const lora::NamedTensor& one : adapter.parameters()) tensors.push_back({one.name, one.tensor.detach().to(type)});
  for (const lora::NamedTensor& one : adapter.saved_beside()) tensors.push_back({one.name, one.tensor.detach().to(type)});
  core::StagedDirectory folder(out);
  lora::write_peft(tensors, config, folder.path());
  folder.commit();
}

/// llama.cpp and mlx-lm have no head where the embedding is one, and neither loads an adapter on it.
void refuse_tied_head(const lora::Adapter& adapter, const models::DecoderConfig& config, bool gguf) {
  if (!config.tied) return;
  // llama.cpp finds A and B by the tensor's name, and applies those of the embedding to the head, whose shape they have
  // not.
  if (gguf && adapter.adapts_embedding())
    throw ModelError(
        fmt::format("the adapter has A and B at the embedding {}, which the base ties to its head, and llama.cpp "
                    "would end on them: merge the adapter into the model instead (`lowrank merge --into gguf`)",
                    adapter.embedding()->path()));
  if (!gguf && adapter.adapts_embedding() && !adapter.keeps_tied())
    throw ModelError(
        fmt::format("the adapter has A and B at the embedding {} alone, which the base ties to its head, and mlx-lm "
                    "would apply them to the head too: merge the adapter into the model instead",
                    adapter.embedding()->path()));
  for (const lora::LinearSlot& slot : adapter.slots()) {
    if (slot->path() != adapter.head()) continue;
    throw ModelError(
        fmt::format("the adapter has A and B at the head {}, which the base ties to its embedding, and this "
                    "format has no place for them: merge the adapter into the model instead",
                    slot->path()));
  }
}

/// What these formats have no place for, whatever the base.
void refuse_beyond_matrices(const lora::Adapter& adapter, const std::string& format) {
  std::string what;
  if (!adapter.token_rows().empty())
    what = "rows of its own in " + adapter.token_rows().front().path + " (trainable_token_indices)";
  else if (adapter.config().lora_bias)
    what = "biases beside B (lora_bias)";
  else if (adapter.keeps_tied() && (format == "gguf" || !adapter.adapts_embedding()))  // mlx-lm shares A and B
    what = "an update of the embedding that the tied head shares (ensure_weight_tying)";
  else if (adapter.file_rows() > 0)
    what = "a vocabulary of more rows than its base";
  if (format == "mlx" && !adapter.config().alora_invocation_tokens.empty())
    throw ModelError("the adapter acts from its invocation on alone (alora_invocation_tokens), and mlx-lm would have it act on every "
                     "token; there is no model into which it could be merged either");
  if (what.empty()) return;
  throw ModelError(fmt::format("the adapter has {}, and an adapter for {} cannot hold that: merge the adapter into the "
                               "model instead",
                               what, format == "gguf" ? "llama.cpp" : "mlx-lm"));
}

}  // namespace

void describe(Fields& t, ExportSpec& s) {
  t.group("Output");
  t.add("format", &s.format, "NAME",
        "What reads the result: llama.cpp (gguf), mlx-lm (mlx), PEFT in another type (peft), or with a pair for each "
        "expert, as older versions of it have them (peft-by-expert)",
        {.choices = {"gguf", "mlx", "peft", "peft-by-expert"}, .required = true});
  t.add("out", &s.out, "PATH", "A new file for gguf, a new folder for the others", {.required = true});
  t.add("dtype", &s.dtype, "TYPE", "Type of the matrices", {.choices = {"float32", "float16", "bfloat16"}});
  t.add("overwrite", &s.overwrite, "", "Replace the file that is there");
  t.group("Model");
  t.add("model", &s.model, "MODEL", "The adapter's base (default: the one that it names)");
}

ExportResult export_adapter(const ExportSpec& asked, core::ProgressObserver& progress) {
  ExportSpec spec = asked;
  const Fields fields = fields_of(spec);
  fields.check();
  if (spec.format.empty()) fields.fail("format", "is missing; expected gguf, mlx, peft or peft-by-expert");
  if (spec.out.empty()) fields.fail("out", "is missing; name the result");
  const fs::path out = spec.out;
  const core::OutputLock lock(out);
  if (spec.format != "gguf") {
    if (spec.overwrite) fields.fail("overwrite", "replaces a file, and this format is a folder; name a new one");
    refuse_used_folder(out);
  } else if (fs::is_directory(out)) {
    fields.fail("out",
                fmt::format("{} is a folder; name a file, such as {}", out.string(), (out / "lora.gguf").string()));
  } else if (fs::exists(out) && !spec.overwrite) {
    fields.fail("out", fmt::format("{} already exists; name another file, or `overwrite` it", out.string()));
  }
  spec.adapter = adapter_folder(spec.adapter, "adapter").string();
  const std::string model = spec.model.value_or(spec.adapter);
  const fs::path base = models::resolve(model).model;
  const Opened opened = open_model(model, fs::path(spec.adapter), {.dtype = dtype_of_files(base)}, progress);
  const lora::Adapter& adapter = *opened.adapter;
  const at::ScalarType type = type_of(spec.dtype);

  ExportResult result;
  std::vector<std::pair<std::string, std::string>> rows = {describe(adapter, opened.adapter_path)};
  result.json = {
      {"adapter", opened.adapter_path.string()}, {"format", spec.format}, {"dtype", spec.dtype}, {"out", spec.out}};
  if (spec.format == "gguf" || spec.format == "mlx") {
    refuse_tied_head(adapter, opened.model.decoder->config(), spec.format == "gguf");
    refuse_beyond_matrices(adapter, spec.format);
    if (!adapter.beside_text().empty())
      rows.emplace_back("left out", fmt::format("{} that text does not pass through: the result is for text alone",
                                                core::counted(static_cast<std::int64_t>(adapter.beside_text().size()), "module")));
  }
  if (spec.format == "gguf") {
    const lora::GgufAdapter written = lora::export_gguf(adapter, models::gguf_layout(opened.model.decoder->config()),
                                                        type, fs::path(asked.adapter).filename().string(), out);
    result.json["alpha"] = written.alpha;
    result.json["rescaled"] = written.rescaled;
    rows.emplace_back(
        "alpha", fmt::format("{:g}{}", written.alpha,
                             written.rescaled == 0 ? ""
                                                   : fmt::format("; in {} of {} modules the rest of the scale is in B",
                                                                 written.rescaled, written.modules)));
    if (adapter.config().alora_invocation_tokens.empty()) {
      rows.emplace_back("next",
                        fmt::format("`llama-cli -m BASE.gguf --lora {} -p \"...\"`", core::shell_quoted(spec.out)));
    } else {
      progress.note("of llama.cpp's programs llama-server alone has an adapter act from its invocation on; the others apply it to every token");
      rows.emplace_back("next", fmt::format("`llama-server -m BASE.gguf --lora {}`", core::shell_quoted(spec.out)));
    }
  } else if (spec.format == "mlx") {
    lora::export_mlx(adapter, type, opened.model.decoder->config().layers, opened.model.name, out);
    rows.emplace_back("next", fmt::format("`mlx_lm.generate --model {} --adapter-path {} --prompt \"...\"`",
                                          core::shell_quoted(opened.model.name), core::shell_quoted(spec.out)));
  } else if (spec.format == "peft-by-expert") {
    lora::save_by_expert(adapter, opened.model.decoder->slot_table(), type, out);
  } else {
    export_peft(adapter, type, out);
  }
  result.json["bytes"] = bytes_of(out);
  rows.insert(rows.begin() + 1, {"out", fmt::format("{} ({})", spec.out, core::format_bytes(bytes_of(out)))});
  result.lines = core::fields(rows);
  return result;
}

}  // namespace lowrank::recipes
