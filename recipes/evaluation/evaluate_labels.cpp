#include "lowrank/apps/classification/evaluate_classification.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "lowrank/apps/inputs/named_paths.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/labelled.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/recipes/classification/classification_report.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;
using core::Json;

void refuse_what_has_no_meaning(const Options& options) {
  for (const OptionSpec& option : options.verb().options) {
    const auto goes_with_it = {"task",  "data",    "seq-len", "batch-tokens", "adapter",
                               "dtype", "threads", "json",    "quiet"};
    if (options.given(option.name) &&
        std::find(goes_with_it.begin(), goes_with_it.end(), option.name) == goes_with_it.end()) {
      options.fail(option.name, "does not go with --task classification, which scores labels alone; leave it out");
    }
  }
}

/// The classifier that was asked for, and what its labels are called.
struct Judge {
  models::SequenceClassifier classifier;
  std::optional<lora::Adapter> adapter;
  std::vector<std::string> labels;
};

Judge open_judge(const Options& options, const models::LoadedModel& model, const Console& console) {
  if (const std::optional<fs::path> folder = adapter_asked_for(options)) {
    std::vector<std::string> notes;
    models::LoadedClassifier loaded = models::load_classifier(model.decoder, *folder, &notes);
    for (const std::string& note : notes) console.warning(note);
    const std::int64_t count = loaded.classifier.labels();
    return {std::move(loaded.classifier), std::move(loaded.adapter), models::read_labels(*folder, count)};
  }
  const std::int64_t count = models::own_labels(model);
  if (count == 0) {
    throw ConfigError(
        fmt::format("{} has no score head of its own; give the classifier that `lowrank finetune --task "
                    "classification` wrote as --adapter",
                    model.path.string()));
  }
  return {models::new_classifier(model, count, 0), std::nullopt, models::read_labels(model.path, count)};
}

struct Result {
  std::string name;
  bool named = false;
  data::LabelledTexts data;
  eval::Classified found;
  double majority = 0;  // accuracy of always saying the set's most frequent label
};

std::vector<std::string> score_row(const Result& result) {
  const eval::Classification& scores = result.found.scores;
  return {result.name,
          core::format_count(scores.examples),
          fmt::format("{:.4f}", result.found.nll),
          fmt::format("{:.2f} %", 100 * scores.accuracy),
          fmt::format("{:.2f} %", 100 * result.majority),
          fmt::format("{:.4f}", scores.macro_f1),
          fmt::format("{:.4f}", scores.matthews)};
}

}  // namespace

int evaluate_classification(const Options& options, const Console& console) {
  refuse_what_has_no_meaning(options);
  if (!options.has("data"))
    throw ConfigError("lowrank evaluate: --data is missing; example: " + evaluate_verb().example);
  const Opened opened = open_base(options, console);
  const Judge judge = open_judge(options, opened.model, console);
  if (judge.labels.size() < 2) {
    throw ConfigError("this classifier has a single score (a reward model's), so there are no labels to tell apart");
  }
  auto opening = describe(opened);
  if (judge.adapter) {
    opening.emplace_back("adapter",
                         fmt::format("{} (rank {}, {} parameters)", judge.adapter->directory().string(),
                                     judge.adapter->config().r, core::format_count(judge.adapter->parameter_count())));
  }
  std::vector<Result> results;
  const int seq_len = sequence_length(options, opened.model.decoder->config());
  for (const NamedPaths& named : named_paths(options, "data")) {
    Result result;
    result.name = named.name;
    result.named = named.named;
    result.data = data::load_labelled(named.paths, *opened.model.tokenizer, seq_len, judge.labels);
    const std::vector<std::int64_t> counts = result.data.counts(result.data.texts);
    const auto most = std::max_element(counts.begin(), counts.end()) - counts.begin();
    result.majority = recipes::accuracy_of_one(counts, static_cast<std::size_t>(most));
    opening.emplace_back(result.name, recipes::class_counts(judge.labels, counts));
    results.push_back(std::move(result));
  }
  if (!console.silent()) print_out(fields(opening));
  Json json = {{"sets", Json::object()}};
  std::vector<std::vector<std::string>> rows;
  std::string matrices;
  for (Result& result : results) {
    ConsoleProgress progress(console);
    for (const std::string& note : result.data.texts.report.notes) console.note(result.name + ": " + note);
    result.found = eval::classify(judge.classifier, result.data.texts, result.data.classes,
                                  options.integer_in("batch-tokens", 1, 1 << 24), &progress);
    json["sets"][result.name] = recipes::to_json(result.found, judge.labels);
    json["sets"][result.name]["majority_accuracy"] = result.majority;
    rows.push_back(score_row(result));
    matrices += "\n" + result.name + ": " + recipes::confusion_text(result.found, judge.labels);
  }
  console.line();
  if (!console.silent()) {
    print_out(table({"set", "texts", "loss", "accuracy", "majority", "macro F1", "Matthews"}, rows) + matrices);
  }
  console.line(
      "loss: mean cross-entropy in nats a text; majority: accuracy of always saying the set's most frequent label");
  console.result(results.size() == 1 && !results.front().named ? json["sets"].front() : json);
  return 0;
}

}  // namespace lowrank::apps
