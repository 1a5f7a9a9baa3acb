#include "lowrank/recipes/evaluation/evaluate_labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/recipes/classification/classification_report.h"
#include "lowrank/recipes/evaluation/named_paths.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/recipes/run/shares.h"
#include "lowrank/train/sequences.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;

void refuse_what_has_no_meaning(const Fields& fields) {
  for (const FieldInfo& field : fields.info()) {
    const auto goes_with_it = {"task", "data", "columns", "seq-len", "batch-tokens", "adapter", "dtype", "shard-base", "threads"};
    if (fields.given(field.name) &&
        std::find(goes_with_it.begin(), goes_with_it.end(), field.name) == goes_with_it.end()) {
      fields.fail(field.name, "does not go with `task` classification, which scores labels alone; leave it out");
    }
  }
}

/// The classifier that was asked for, and what its labels are called.
struct Judge {
  models::SequenceClassifier classifier;
  std::optional<lora::Adapter> adapter;
  std::vector<std::string> labels;
};

Judge open_judge(const EvaluateSpec& spec, const models::LoadedModel& model, Observer& observer) {
  if (const std::optional<fs::path> folder = adapter_of(spec.model, spec.adapter)) {
    std::vector<std::string> notes;
    models::LoadedClassifier loaded = models::load_classifier(model.decoder, *folder, &notes);
    for (const std::string& note : notes) observer.warning(note);
    say_other_form(*folder, model.coded.form, observer);
    const std::int64_t count = loaded.classifier.labels();
    return {std::move(loaded.classifier), std::move(loaded.adapter), models::read_labels(*folder, count)};
  }
  const std::int64_t count = models::own_labels(model);
  if (count == 0) {
    throw ConfigError(
        fmt::format("{} has no score head of its own; give the classifier that `lowrank finetune --task "
                    "classification` wrote as `adapter`",
                    model.path.string()));
  }
  return {models::new_classifier(model, count, 0), std::nullopt, models::read_labels(model.path, count)};
}

}  // namespace

LabelsResult evaluate_labels(const EvaluateSpec& asked, EvaluationObserver& observer) {
  EvaluateSpec spec = asked;
  const Fields fields = fields_of(spec);
  refuse_what_has_no_meaning(fields);
  const kernels::RuntimeScope runtime(begin(spec, fields));
  train::GradSync& sync = train::or_alone(observer.ranks());
  Rows remarks;
  const models::LoadOptions loading = loading_of(spec, fields, observer, remarks);
  const Opened opened = open_model(spec.model, std::nullopt, loading, observer);
  const Judge judge = open_judge(spec, opened.model, observer);
  if (judge.labels.size() < 2) {
    throw ConfigError("this classifier has a single score (a reward model's), so there are no labels to tell apart");
  }
  Rows facts = describe(opened);
  if (opened.model.shares != nullptr) facts.push_back(describe(*opened.model.shares, sync));
  facts.insert(facts.end(), remarks.begin(), remarks.end());
  if (judge.adapter) {
    facts.emplace_back("adapter",
                       fmt::format("{} (rank {}, {} parameters)", judge.adapter->directory().string(),
                                   judge.adapter->config().r, core::format_count(judge.adapter->parameter_count())));
  }
  LabelsResult result;
  result.labels = judge.labels;
  const data::DataOptions reading = reading_of(spec, fields, opened.model, spec.adapter.value_or(""));
  std::vector<data::LabelledTexts> texts;
  for (const NamedPaths& named : named_paths("data", spec.data)) {
    texts.push_back(
        data::load_labelled(named.paths, *opened.model.tokenizer, reading.seq_len, judge.labels, reading.chat,
                            reading.files));
    const std::vector<std::int64_t> counts = texts.back().counts(texts.back().texts);
    const auto most = std::max_element(counts.begin(), counts.end()) - counts.begin();
    result.sets.push_back({named.name, named.named, {}, accuracy_of_one(counts, static_cast<std::size_t>(most))});
    facts.emplace_back(named.name, class_counts(judge.labels, counts));
  }
  std::vector<std::pair<std::string, const data::ReadReport*>> read;
  for (std::size_t i = 0; i < texts.size(); ++i) read.emplace_back(result.sets[i].name, &texts[i].texts.report);
  require_same(sync, opened.model, judge.adapter ? judge.adapter->directory() : std::filesystem::path(), read, observer);
  observer.on_facts(facts);
  Json json = {{"sets", Json::object()}};
  for (std::size_t i = 0; i < texts.size(); ++i) {
    LabelledSet& set = result.sets[i];
    for (const std::string& note : texts[i].texts.report.notes) observer.note(set.name + ": " + note);
    set.found = sync.ranks() == 1
                    ? eval::classify(judge.classifier, texts[i].texts, texts[i].classes, spec.batch_tokens, &observer)
                    : eval::classified(
                          train::text_scores(judge.classifier, texts[i].texts.examples, sync, spec.batch_tokens),
                          texts[i].classes, judge.classifier.labels());
    json["sets"][set.name] = to_json(set.found, judge.labels);
    json["sets"][set.name]["majority_accuracy"] = set.majority;
  }
  part(opened.model.shares.get(), sync);
  result.json = result.sets.size() == 1 && !result.sets.front().named ? json["sets"].front() : json;
  return result;
}

}  // namespace lowrank::recipes
