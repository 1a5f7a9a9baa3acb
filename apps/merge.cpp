// `lowrank merge`: an adapter added into the model's files, and the proof that the result is what base + adapter was.
#include "lowrank/recipes/merge.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/run/out_folder.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;

int merge(const Options& options) {
  const Console console(options);
  const fs::path out = options.text("out");
  recipes::refuse_used_folder(out);
  const models::Resolved resolved = models::resolve(options.positional(0));
  if (!adapter_asked_for(options))
    throw ConfigError("lowrank merge: --adapter is missing; it names the adapter's folder");
  const models::DTypeChoice dtype = recipes::dtype_of_files(resolved.model);
  Opened opened = open_model(options, console, dtype);
  const std::string dtype_name = dtype == models::DTypeChoice::kBFloat16 ? "bfloat16" : "float32";
  auto opening = describe(opened);
  for (auto& [key, value] : opening) {
    if (key == "dtype") value = dtype_name + ": to compute with the weights as the files hold them";
  }
  opening.emplace_back("out", out.string());
  if (!console.silent()) print_out(fields(opening));

  const std::string probe = options.text("probe");
  ConsoleProgress progress(console);
  const recipes::MergeResult merged = recipes::merge(opened.model, *opened.adapter, out, probe, progress);
  const lora::MergeReport& report = merged.report;
  const recipes::MergeResult::Difference &error = merged.error, &effect = merged.effect;

  const Json result = {
      {"lowrank", LOWRANK_VERSION},
      {"model", opened.model.name},
      {"adapter", opened.adapter_path.string()},
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
        {"dtype", dtype_name},
        {"max_logit_difference", error.largest},
        {"mean_kl", error.kl},
        {"adapter_max_logit_change", effect.largest},
        {"adapter_mean_kl", effect.kl}}},
  };
  core::write_file(out / "merge_report.json", result.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");

  console.line();
  if (!console.silent()) {
    std::vector<std::pair<std::string, std::string>> rows = {
        {"merged", fmt::format("{} of {} tensors, {}", core::format_count(report.changed),
                               core::format_count(report.tensors), core::format_bytes(report.bytes))},
        {"files", fmt::format("{}", fmt::join(report.files, ", "))},
        {"proof", fmt::format("all {} elements re-read and equal to {}", core::format_count(report.elements),
                              recipes::what_is_written(*opened.adapter))},
        {"probe",
         fmt::format("{} tokens: merged against base + adapter, largest logit difference {:.3g}, mean KL {:.3g} nats",
                     merged.probe_tokens, error.largest, error.kl)},
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
    print_out(fields(rows));
  }
  console.result(result);
  return 0;
}

}  // namespace

Verb merge_verb() {
  Verb verb;
  verb.name = "merge";
  verb.summary = "Add an adapter into the model's weights, and prove it";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank merge MODEL --adapter out --out merged";
  verb.options = {
      option_adapter(),
      {"out", OptionType::kText, "DIR", nullptr, "Output", "Folder for the merged model; new or empty", {}, true},
      {"probe",
       OptionType::kText,
       "TEXT",
       recipes::kProbe,
       "Proof",
       "Text on which merged and base + adapter are compared",
       {}},
      option_threads(),
      option_json(),
      option_quiet(),
  };
  verb.run = merge;
  return verb;
}

}  // namespace lowrank::apps
