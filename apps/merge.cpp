// `lowrank merge`: an adapter added into the model's files, and the proof that the result is what base + adapter was.
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/merge.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "lowrank/apps/console/next_step.h"
#include "lowrank/apps/console/stoppable.h"
#include "lowrank/apps/inputs/combined.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/temporary_folder.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/combine.h"
#include "lowrank/recipes/merge_gguf.h"
#include "lowrank/recipes/run/out_folder.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

int merge_into_gguf(const Options& options, const Console& console, const std::optional<fs::path>& adapter) {
  const fs::path out = options.text("out");
  const formats::GgmlType type = recipes::gguf_type(options.text("dtype"), models::resolve(options.positional(0)).model);
  set_threads(options);
  ConsoleProgress loading(console);
  Opened opened = recipes::open_to_merge(options.positional(0), adapter, {.dtype = models::DTypeChoice::kFloat32}, loading);
  auto opening = describe(opened);
  opening.emplace_back("out", out.string());
  console.text(fields(opening));
  StoppableProgress progress(console);
  const recipes::GgufResult made = recipes::merge_gguf(opened.model, opened.adapter ? &*opened.adapter : nullptr, out, type,
                                                       options.text("probe"), progress);
  console.line();
  if (!console.silent()) {
    std::vector<std::pair<std::string, std::string>> rows = {
        {"gguf", fmt::format("{} ({}, {} tensors, {})", (out / made.file).string(), formats::ggml_name(type),
                             core::format_count(made.tensors), core::format_bytes(made.bytes))},
        {"tokenizer", made.tokenizer},
        {"probe", fmt::format("{}: perplexity {:.4f} before, {:.4f} with the file's values read back; largest logit difference {:.3g}, "
                              "mean KL {:.3g} nats",
                              core::counted(made.probe_tokens, "token"), made.before, made.after, made.error.largest, made.error.kl)}};
    for (const std::string& note : made.notes) rows.emplace_back("note", note);
    rows.emplace_back("next", fmt::format("`llama-cli -m {}`, or `ollama create NAME -f {}`", core::shell_quoted((out / made.file).string()),
                                          core::shell_quoted((out / "Modelfile").string())));
    print_lines(fields(rows));
  }
  console.result(made.json);
  return 0;
}

/// Several adapters as one in the folder `to`.
core::Json combine(const Options& options, const Console& console, models::DTypeChoice dtype, const fs::path& to) {
  ConsoleProgress progress(console);
  models::LoadOptions load;
  load.dtype = dtype;
  models::LoadedModel model = models::load(options.positional(0), load, &progress);
  return recipes::combine_adapters(model, options.texts("adapter"), combination_asked_for(options), to, progress);
}

int combine_only(const Options& options, const Console& console, models::DTypeChoice dtype) {
  const fs::path out = options.text("out");
  const core::OutputLock lock(out);
  set_threads(options);
  core::Json made = combine(options, console, dtype, out);
  made["out"] = out.string();
  console.text(fields({{"adapters", fmt::format("{}", fmt::join(options.texts("adapter"), ", "))},
                       {"combined", fmt::format("{} by {}, rank {}", out.string(), options.text("combine"),
                                                made["rank"].get<std::int64_t>())}}));
  print_next(console, {"generate", options.positional(0), "--adapter", out.string(), "--prompt", "Once upon a time"});
  console.result(made);
  return 0;
}

int merge(const Options& options) {
  const Console console(options);
  const fs::path out = options.text("out");
  const bool gguf = options.text("into") == "gguf";
  if (gguf && out.extension() == ".gguf")
    options.fail("out", fmt::format("{} is the name of a file; name a folder, for the file and what goes with it", out.string()));
  recipes::refuse_used_folder(out);
  if (gguf && options.flag("adapter-only")) options.fail("adapter-only", "writes an adapter, and --into gguf a model; give one");
  const std::optional<formats::DType> written = gguf ? std::nullopt : recipes::dtype_to_write(options.text("dtype"));
  const models::Resolved resolved = models::resolve(options.positional(0));
  const models::DTypeChoice dtype = written ? models::DTypeChoice::kFloat32 : recipes::dtype_of_files(resolved.model);
  std::optional<core::TemporaryFolder> together;
  core::Json combined;
  std::optional<std::string> given;
  if (combines(options)) {
    if (options.flag("adapter-only")) return combine_only(options, console, dtype);
    set_threads(options);
    together.emplace();
    given = (together->path() / "adapter").string();
    combined = combine(options, console, dtype, *given);
  } else if (options.given("adapter")) {
    given = options.texts("adapter").front();
  }
  const std::optional<fs::path> adapter = recipes::adapter_of(options.positional(0), given);
  if (gguf) return merge_into_gguf(options, console, adapter);
  if (!adapter) throw ConfigError("lowrank merge: --adapter is missing; it names the adapter's folder");
  set_threads(options);
  ConsoleProgress loading(console);
  Opened opened = recipes::open_to_merge(options.positional(0), adapter, {.dtype = dtype}, loading);
  const std::string dtype_name = dtype == models::DTypeChoice::kBFloat16 ? "bfloat16" : "float32";
  auto opening = describe(opened);
  for (auto& [key, value] : opening) {
    if (key != "dtype") continue;
    value = written ? fmt::format("written in {}, each value rounded once from the sum in fp32", options.text("dtype"))
                    : dtype_name + ": to compute with the weights as the files hold them";
  }
  if (opened.adapter->merges_into_decoded())
    opening.emplace_back("onto", "of adapted layers what the codes stand for, since the adapter holds what these had lost (LoftQ)");
  else if (!recipes::other_form(opened.adapter_path, kernels::BaseForm::kAsStored).empty())
    opening.emplace_back("base", "the files' own weights, as PEFT advises for an adapter of a base in fewer bytes");
  opening.emplace_back("out", out.string());
  console.text(fields(opening));

  const std::string probe = options.text("probe");
  StoppableProgress progress(console);
  recipes::MergeResult merged = recipes::merge(opened.model, *opened.adapter, out, probe, progress, written);
  if (!combined.is_null()) {  // what was merged is in a folder that is gone
    merged.json["adapter"] = combined["adapters"];
    merged.json.update(combined);
    core::write_file(out / "merge_report.json",
                     core::json_text(merged.json, 2) + "\n");
  }
  const lora::MergeReport& report = merged.report;
  const recipes::Difference &error = merged.error, &effect = merged.effect;

  console.line();
  if (!console.silent()) {
    std::vector<std::pair<std::string, std::string>> rows = {
        {"merged", fmt::format("{} of {} tensors, {}", core::format_count(report.changed),
                               core::format_count(report.tensors), core::format_bytes(report.bytes))},
        {"files", fmt::format("{}", fmt::join(report.files, ", "))},
        {"proof", fmt::format("all {} elements re-read and equal to {}", core::format_count(report.elements),
                              recipes::what_is_written(*opened.adapter))},
        {"probe", fmt::format("{}: merged against base + adapter, largest logit difference {:.3g}, mean KL {:.3g} nats",
                              core::counted(merged.probe_tokens, "token"), error.largest, error.kl)},
        {"",
         fmt::format("(the adapter itself moves logits by up to {:.3g}, mean KL {:.3g})", effect.largest, effect.kl)},
        {"report", (out / "merge_report.json").string()},
    };
    if (report.untied) {
      rows.insert(rows.begin() + 1,
                  {"untied",
                   "the model ties its head to its embedding, and the adapter changes one of them: both are "
                   "stored, and config.json says tie_word_embeddings = false"});
    }
    print_lines(fields(rows));
  }
  print_next(console, {"generate", out.string(), "--prompt", "Once upon a time"});
  console.result(merged.json);
  return 0;
}

}  // namespace

Verb merge_verb() {
  Verb verb;
  verb.name = "merge";
  verb.summary = "Add an adapter into the model's weights, or write them for llama.cpp, and prove it";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank merge MODEL --adapter out --out merged";
  verb.options = {
      {"adapter", OptionType::kTexts, "DIR", nullptr, "Adapter", "A PEFT or mlx-lm adapter directory; several: --combine", {}},
      {"out", OptionType::kText, "DIR", nullptr, "Output", "Folder for the merged model; new or empty", {}, true},
      {"probe",
       OptionType::kText,
       "TEXT",
       recipes::kProbe,
       "Proof",
       "Text on which merged and base + adapter are compared",
       {}},
      {"into", OptionType::kText, "NAME", "safetensors", "Output",
       "What reads the result: transformers and the like (safetensors), or llama.cpp and Ollama (gguf), with or without an adapter",
       {"safetensors", "gguf"}},
      {"dtype", OptionType::kText, "TYPE", "auto", "Output",
       "Type of the weights that are written (auto: as the model's files); q8_0 and q4_0, of a GGUF file: blocks of 32 numbers of 8 or 4 bits",
       {"auto", "float32", "float16", "bfloat16", "q8_0", "q4_0"}},
      option_threads(),
      option_json(),
      option_quiet(),
  };
  for (OptionSpec& option : combine_options()) verb.options.push_back(std::move(option));
  verb.run = merge;
  return verb;
}

}  // namespace lowrank::apps
