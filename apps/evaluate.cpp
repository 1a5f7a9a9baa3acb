// `lowrank evaluate`: perplexity on any number of sets, the base against the adapter in one table.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <optional>

#include "lowrank/apps/classification/evaluate_classification.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/evaluation/evaluate_compare.h"
#include "lowrank/apps/evaluation/frontier.h"
#include "lowrank/apps/images/image_evaluate.h"
#include "lowrank/apps/inputs/named_paths.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/shots.h"
#include "lowrank/eval/perplexity.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;
constexpr std::uint64_t kShotsSeed = 42;

struct Set {
  std::string name;
  std::vector<fs::path> paths;
  bool named = false;
  data::Dataset data;
  eval::Perplexity base;  // adapters off
  std::optional<eval::Perplexity> adapter;
};

std::vector<Set> sets_asked_for(const Options& options) {
  std::vector<Set> sets;
  for (NamedPaths& named : named_paths(options, "data")) {
    sets.push_back(Set{std::move(named.name), std::move(named.paths), named.named, {}, {}, {}});
  }
  return sets;
}

eval::Perplexity measure(const Options& options, models::DecoderImpl& decoder, const Set& set, const Console& console) {
  ConsoleProgress progress(console);
  const eval::Perplexity result = eval::perplexity(decoder, set.data, options.integer_in("batch-tokens", 1, 1 << 24),
                                                   options.flag("per-token"), &progress);
  if (!std::isfinite(result.nll)) {
    throw ModelError(
        fmt::format("{}: the loss is not a finite number, so the model or the adapter holds NaN or overflows; "
                    "try --dtype float32, and `lowrank inspect` on both",
                    set.name));
  }
  return result;
}

Json to_json(const eval::Perplexity& p, bool per_token) {
  Json json = {{"tokens", p.tokens}, {"nll", p.nll}, {"perplexity", p.perplexity()}};
  if (per_token) json["per_token"] = p.per_token;
  return json;
}

Json to_json(const Set& set, bool per_token) {
  if (!set.adapter) return to_json(set.base, per_token);
  Json json = to_json(*set.adapter, per_token);
  json["base"] = to_json(set.base, per_token);
  return json;
}

/// What was read and left out, where there is something to say.
std::string reading(const Set& set) {
  const data::ReadReport& report = set.data.report;
  std::string text = fmt::format("{}, {} document{}, {} tokens, {} of them counted", report.format,
                                 core::format_count(report.documents), report.documents == 1 ? "" : "s",
                                 core::format_count(report.tokens), core::format_count(report.learned_tokens));
  const auto add = [&](std::int64_t n, const char* what) {
    if (n > 0) text += fmt::format(", {} {}", core::format_count(n), what);
  };
  add(report.truncated, "rows cut to --seq-len");
  add(report.empty, "blank dropped");
  add(report.all_masked, "with nothing to learn dropped");
  add(report.duplicates, "seen before");
  add(report.replaced_bytes, "invalid bytes read as U+FFFD");
  return text;
}

void print_table(const std::vector<Set>& sets, const Console& console) {
  const bool adapter = sets.front().adapter.has_value();
  std::vector<std::string> header = {"set", "tokens"};
  if (adapter) {
    header.insert(header.end(), {"base nll", "adapter nll", "base perplexity", "adapter perplexity", "change"});
  } else {
    header.insert(header.end(), {"nll", "perplexity"});
  }
  std::vector<std::vector<std::string>> rows;
  for (const Set& set : sets) {
    std::vector<std::string> row = {set.name, core::format_count(set.base.tokens)};
    if (adapter) {
      const double before = set.base.perplexity(), after = set.adapter->perplexity();
      row.insert(row.end(), {fmt::format("{:.4f}", set.base.nll), fmt::format("{:.4f}", set.adapter->nll),
                             fmt::format("{:.2f}", before), fmt::format("{:.2f}", after),
                             fmt::format("{:+.1f} %", 100.0 * (after / before - 1.0))});
    } else {
      row.insert(row.end(), {fmt::format("{:.4f}", set.base.nll), fmt::format("{:.2f}", set.base.perplexity())});
    }
    rows.push_back(std::move(row));
  }
  console.line();
  if (!console.silent()) print_out(table(header, rows));
  console.line("nll: mean negative log-likelihood in nats a token; perplexity: its exponential");
}

/// --shots: examples of --shots-data go before each one of the sets. The number of tokens shown.
std::int64_t show_shots(const Options& options, std::vector<Set>& sets, Opened& opened,
                        const data::DataOptions& reading, const Console& console) {
  if (options.has("shots") != options.has("shots-data")) {
    options.fail(options.has("shots") ? "shots" : "shots-data",
                 "--shots K and --shots-data PATH go together; give both");
  }
  if (!options.has("shots")) return 0;
  const auto shots = static_cast<int>(options.integer_in("shots", 1, 1000));
  ConsoleProgress progress(console);
  const data::Dataset pool = data::load(options.paths("shots-data"), opened.tokenizer(), reading, &progress);
  std::int64_t tokens = 0, cut = 0;
  for (Set& set : sets) {
    data::Prompted prompted =
        data::with_shots(set.data, pool, shots, opened.decoder().config().max_positions, kShotsSeed);
    set.data = std::move(prompted.data);
    tokens += prompted.context_tokens;
    cut += prompted.cut;
  }
  if (cut > 0) {
    console.warning(
        fmt::format("{} examples had no room for all {} shots, whose beginning was cut; a smaller --seq-len makes "
                    "shorter pieces",
                    core::format_count(cut), shots));
  }
  return tokens;
}

int evaluate(const Options& options) {
  const Console console(options);
  if (options.has("task") && options.text("task") == "image-classification") return evaluate_images(options, console);
  const bool per_token = options.flag("per-token");
  if (per_token && !console.json())
    options.fail("per-token", "the losses of single tokens come with --json only; add --json");
  if (options.has("task") && options.text("task") == "classification") return evaluate_classification(options, console);
  if (comparison_asked_for(options)) return compare(options, console);
  if (!options.has("data"))
    throw ConfigError("lowrank evaluate: --data is missing; example: " + evaluate_verb().example);
  std::vector<Set> sets = sets_asked_for(options);

  Opened opened = open_model(options, console);
  data::DataOptions reading_options;
  reading_options.format = data::parse_format(options.text("format"));
  reading_options.seq_len = sequence_length(options, opened.decoder().config());
  reading_options.train_on_prompt = options.flag("train-on-prompt");
  for (Set& set : sets) {
    ConsoleProgress progress(console);
    set.data = data::load(set.paths, opened.tokenizer(), reading_options, &progress);
  }
  const std::int64_t context = show_shots(options, sets, opened, reading_options, console);
  if (options.flag("frontier") && !opened.adapter)
    options.fail("frontier", "scales an adapter's update; give --adapter");
  auto opening = describe(opened);
  if (options.has("shots")) {
    opening.emplace_back("shots", fmt::format("{} before each example, {} tokens in all that are not counted",
                                              options.integer("shots"), core::format_count(context)));
  }
  opening.emplace_back("seq-len", std::to_string(reading_options.seq_len));
  for (const Set& set : sets) opening.emplace_back(set.name, reading(set));
  if (!console.silent()) print_out(fields(opening));
  for (const Set& set : sets) {
    for (const std::string& note : set.data.report.notes) console.note(note);
  }

  for (Set& set : sets) {
    if (opened.adapter) {
      set.adapter = measure(options, opened.decoder(), set, console);
      opened.adapter->set_enabled(false);
    }
    set.base = measure(options, opened.decoder(), set, console);
    if (opened.adapter) opened.adapter->set_enabled(true);
  }
  print_table(sets, console);

  Json result;
  if (sets.size() == 1 && !sets.front().named) {
    result = to_json(sets.front(), per_token);
  } else {
    result["sets"] = Json::object();
    for (const Set& set : sets) result["sets"][set.name] = to_json(set, per_token);
  }
  if (options.has("shots")) result["shots"] = options.integer("shots");
  if (options.flag("frontier")) {
    std::vector<FrontierSet> measured;
    for (const Set& set : sets) measured.push_back({set.name, &set.data, set.base.nll, set.adapter->nll});
    result["frontier"] = frontier(measured, opened, options.integer("batch-tokens"), console);
  }
  console.result(result);
  return 0;
}

}  // namespace

Verb evaluate_verb() {
  Verb verb;
  verb.name = "evaluate";
  verb.summary = "Perplexity on data sets, the base against the adapter; or how well labels are told";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank evaluate MODEL --adapter out --data domain=held-out.txt general=stories.txt";
  verb.options = {
      {"data", OptionType::kTexts, "[NAME=]PATH...", nullptr, "Data", "Files or folders; equal names are one set", {}},
      {"task",
       OptionType::kText,
       "NAME",
       nullptr,
       "Data",
       "Accuracy, macro F1, Matthews and confusion of labelled texts or pictures",
       {"classification", "image-classification"}},
      option_format(),
      option_seq_len("Tokens a piece or row has at most [min(1024, the model's positions)]"),
      {"train-on-prompt", OptionType::kFlag, "", false, "Data", "Count the prompts' tokens too", {}},
      {"batch-tokens", OptionType::kInt, "N", 2048, "System", "Tokens computed at a time", {}},
      {"shots", OptionType::kInt, "K", nullptr, "Data", "Show K of --shots-data before each example (not counted)", {}},
      {"shots-data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Documents or examples for --shots, the training data say",
       {}},
      {"frontier",
       OptionType::kFlag,
       "",
       false,
       "Output",
       "Also at the scales 0, 1/8 ... 1 of the adapter's update",
       {}},
      {"per-token", OptionType::kFlag, "", false, "Output", "With --json: the loss of every counted token", {}},
      option_adapter(),
      option_dtype(),
      option_threads(),
      option_json(),
      option_quiet(),
  };
  for (const OptionSpec& option : comparison_options()) verb.options.push_back(option);
  verb.run = evaluate;
  return verb;
}

}  // namespace lowrank::apps
