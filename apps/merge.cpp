// `lowrank merge`: an adapter added into the model's files, and the proof that the result is what base + adapter was.
#include "lowrank/lora/merge.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/inputs/out_folder.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/kernels/host.h"
#include "lowrank/kernels/segments.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;

constexpr const char* kProbe =
    "The painter mixed the colours on the wet plaster before the light had gone. Once upon a time there was a small "
    "house "
    "at the edge of the wood, and in 1504 nobody lived there.";

/// Logits [T, V] fp32 of a text, cut to the model's positions.
at::Tensor logits_of(models::DecoderImpl& decoder, const std::vector<data::TokenId>& ids) {
  const at::NoGradGuard no_grad;
  const auto length = static_cast<std::int64_t>(ids.size());
  const std::vector<std::int64_t> wide(ids.begin(), ids.end());
  const at::Tensor tokens = kernels::from_host<std::int64_t>(wide, {length});
  return decoder.logits(decoder.hidden(tokens, kernels::Segments::of_lengths({length})));
}

struct Difference {
  double largest = 0;  // of any logit
  double kl = 0;       // mean over positions of KL(softmax(a) || softmax(b)), nats
};

Difference compare(const at::Tensor& a, const at::Tensor& b) {
  const at::NoGradGuard no_grad;
  const at::Tensor log_p = a.log_softmax(1, at::kDouble), log_q = b.log_softmax(1, at::kDouble);
  Difference difference;
  difference.largest = a.to(at::kDouble).sub(b.to(at::kDouble)).abs().max().item<double>();
  difference.kl = log_p.exp().mul(log_p.sub(log_q)).sum(1).mean().item<double>();
  return difference;
}

/// The type to compute in so that the weights are those of the files: bf16 for bf16 files, else fp32 (exact for fp16).
models::DTypeChoice dtype_of_files(const fs::path& model) {
  const auto weights = formats::WeightFiles::open(model);
  std::uint64_t brain = 0;
  for (const std::string& name : weights.names()) {
    const formats::TensorInfo& info = *weights.find(name)->info;
    if (info.dtype == formats::DType::kBF16) brain += info.end - info.begin;
  }
  return 2 * brain > weights.total_bytes() ? models::DTypeChoice::kBFloat16 : models::DTypeChoice::kFloat32;
}

/// What every element was compared with.
std::string what_is_written(const lora::Adapter& adapter) {
  std::string text = adapter.config().use_dora ? "round(m/n · (W + s·BA))" : "round(W + s·BA)";
  if (!adapter.whole().empty()) text += " and the trained copies, rounded once";
  return text;
}

int merge(const Options& options) {
  const Console console(options);
  const fs::path out = options.text("out");
  refuse_used_folder(options, out);
  const models::Resolved resolved = models::resolve(options.positional(0));
  if (!adapter_asked_for(options))
    throw ConfigError("lowrank merge: --adapter is missing; it names the adapter's folder");
  const models::DTypeChoice dtype = dtype_of_files(resolved.model);
  Opened opened = open_model(options, console, dtype);
  const fs::path model = opened.model.path;
  const std::string dtype_name = dtype == models::DTypeChoice::kBFloat16 ? "bfloat16" : "float32";
  auto opening = describe(opened);
  for (auto& [key, value] : opening) {
    if (key == "dtype") value = dtype_name + ": to compute with the weights as the files hold them";
  }
  opening.emplace_back("out", out.string());
  if (!console.silent()) print_out(fields(opening));

  // What base + adapter says, before anything is written.
  const std::string probe = options.text("probe");
  std::vector<data::TokenId> ids = opened.tokenizer().encode(probe);
  if (ids.empty()) options.fail("probe", "the text has no tokens; give a sentence");
  const auto positions = static_cast<std::size_t>(opened.decoder().config().max_positions);
  if (ids.size() > positions) ids.resize(positions);
  const at::Tensor with_adapter = logits_of(opened.decoder(), ids);
  opened.adapter->set_enabled(false);
  const Difference effect = compare(logits_of(opened.decoder(), ids), with_adapter);
  opened.adapter->set_enabled(true);

  ConsoleProgress progress(console);
  if (fs::exists(out)) fs::remove(out);  // empty: it was looked at above
  const lora::MergeReport report = lora::merge_files(model, *opened.adapter, out, &progress);
  Difference error;
  try {
    lora::verify_merge(model, *opened.adapter, out, &progress);
    models::LoadOptions load;
    load.dtype = dtype;
    models::LoadedModel merged = models::load(out.string(), load, &progress);
    error = compare(with_adapter, logits_of(*merged.decoder, ids));
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(out, ignored);  // a merge that is not proven is not left lying around
    throw;
  }

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
        {"tokens", ids.size()},
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
                              what_is_written(*opened.adapter))},
        {"probe",
         fmt::format("{} tokens: merged against base + adapter, largest logit difference {:.3g}, mean KL {:.3g} nats",
                     ids.size(), error.largest, error.kl)},
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
      {"probe", OptionType::kText, "TEXT", kProbe, "Proof", "Text on which merged and base + adapter are compared", {}},
      option_threads(),
      option_json(),
      option_quiet(),
  };
  verb.run = merge;
  return verb;
}

}  // namespace lowrank::apps
