#include "lowrank/apps/classification/classification_run.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/apps/classification/classification_report.h"
#include "lowrank/apps/classification/score_head.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/training/regularisation.h"
#include "lowrank/apps/training/repeated_runs.h"
#include "lowrank/apps/training/training_base.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/labelled.h"
#include "lowrank/data/parts.h"
#include "lowrank/train/classification.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

void refuse_what_has_no_meaning(const Options& options) {
  if (options.text("method") == "full") {
    options.fail("method", "--task classification trains an adapter and a score head; leave --method full out");
  }
  for (const auto& [name, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"general-data", "measures perplexity, which a classifier has none of"},
           {"max-forgetting", "measures perplexity, which a classifier has none of"},
           {"train-on-prompt", "is for prompts and answers, and labelled texts have neither"},
           {"format", "is for text and instruction data; labelled texts are rows {\"text\", \"label\"}"},
           {"samples", "continues texts, which a classifier does not"}}) {
    if (options.given(name)) options.fail(name, fmt::format("{}; leave it out with --task classification", why));
  }
}

/// What is trained on and what is held out, with the names of the labels.
struct LabelledData {
  std::vector<std::string> labels;
  train::Classification::Set train;
  std::optional<train::Classification::Set> validation;
  std::vector<std::int64_t> train_counts, validation_counts;  // texts of each class
};

train::Classification::Set set_of(const data::LabelledTexts& all, data::Dataset part) {
  train::Classification::Set set;
  for (const data::Example& example : part.examples) set.classes.push_back(all.class_of(example));
  set.texts = std::move(part);
  return set;
}

LabelledData read_labelled(const Options& options, const models::LoadedModel& model,
                           const std::optional<fs::path>& start, RunReport& report) {
  const int seq_len = sequence_length(options, model.decoder->config());
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));
  // A run that goes on from an adapter has its labels.
  std::vector<std::string> known;
  if (start) known = models::read_labels(*start, models::saved_labels(*start, *model.decoder));
  const data::LabelledTexts all = data::load_labelled(options.paths("data"), *model.tokenizer, seq_len, known);
  if (all.labels.size() < 2) {
    throw DataError(
        fmt::format("--data has one label alone, '{}'; there is nothing to tell apart, so give texts of two labels "
                    "or more",
                    core::printable(all.labels.front(), 80)));
  }
  LabelledData result;
  result.labels = all.labels;
  data::Dataset train = all.texts;
  const double share = options.number_in("val-split", 0, 0.9);
  if (options.has("fold") || (!options.has("val-data") && share > 0)) {
    data::Split parts =
        options.has("fold") ? held_out_fold(options, all.texts) : data::split_labelled(all, share, seed);
    report.validation_how = parts.how;
    train = std::move(parts.train);
    if (!parts.validation.examples.empty()) result.validation = set_of(all, std::move(parts.validation));
  } else if (options.has("val-data")) {
    data::LabelledTexts held = data::load_labelled(options.paths("val-data"), *model.tokenizer, seq_len, all.labels);
    data::Dataset texts = held.texts;
    result.validation = set_of(held, std::move(texts));
    report.validation_how = "on --val-data";
  } else {
    report.validation_how = "none (--val-split 0)";
  }
  if (options.has("share")) train = data::share_of(train, training_share(options), seed);
  result.train_counts = all.counts(train);
  result.train = set_of(all, std::move(train));
  report.data.push_back({"train", result.train.texts.report});
  if (result.validation) {
    result.validation_counts.assign(all.labels.size(), 0);
    for (const std::int64_t k : result.validation->classes) ++result.validation_counts[static_cast<std::size_t>(k)];
    report.data.push_back({"validation", result.validation->texts.report});
  }
  return result;
}

void report_classes(const LabelledData& data, RunReport& report) {
  report.remarks.emplace_back("classes", class_counts(data.labels, data.train_counts));
  if (!data.validation) return;
  const auto most = std::max_element(data.train_counts.begin(), data.train_counts.end()) - data.train_counts.begin();
  const double chance = accuracy_of_one(data.validation_counts, static_cast<std::size_t>(most));
  const std::string name = core::printable(data.labels[static_cast<std::size_t>(most)], 40);
  report.remarks.emplace_back("validation classes", class_counts(data.labels, data.validation_counts));
  report.remarks.emplace_back("majority baseline",
                              fmt::format("always '{}', the most frequent in training, is right in {:.1f} % of the "
                                          "validation texts",
                                          name, 100 * chance));
  report.findings["majority_accuracy"] = chance;
}

void report_validation(const train::Classification& objective, const std::vector<std::string>& labels,
                       RunReport& report) {
  const eval::Classified found = objective.classified(0);
  report.findings["classification"] = to_json(found, labels);
  report.findings_text += confusion_text(found, labels);
  report.tables.push_back(confusion_table(found, labels));
}

}  // namespace

RunOutcome run_classification(const Options& options, const Console& console, SharedBase& base,
                              train::TrainObserver* observer) {
  ConsoleProgress progress(console);
  set_threads_and_kernels(options);
  refuse_what_has_no_meaning(options);
  const models::Resolved resolved = models::resolve(options.positional(0));
  std::optional<fs::path> start = resolved.adapter;
  if (options.has("adapter")) start = options.text("adapter");
  if (!start) lora_config(options);  // its mistakes show before anything is read

  std::vector<fs::path> inputs = {resolved.model};
  if (start) inputs.push_back(*start);
  const RunFolder folder = open_run(options, console, inputs);
  if (folder.finished) return {};
  const core::Json earlier = earlier_choices(options);
  models::LoadedModel& model = base.get(resolved, load_options(options, earlier, false), progress);
  RunReport report;
  report_model(report, options, resolved, model, base.sha256());
  LabelledData data = read_labelled(options, model, start, report);
  models::LoadedClassifier made =
      make_classifier(options, start, model, resolved.name, static_cast<std::int64_t>(data.labels.size()), progress);
  const Detach at_the_end(made.adapter);
  check_update_options(options, made.adapter);
  report_adapter(report, made.adapter);
  report_classes(data, report);

  train::Classification::Parts parts{made.classifier};
  parts.adapter = &made.adapter;
  parts.weights = &model.weights;
  parts.labels = data.labels;
  parts.plan = plan_options(options);
  parts.label_smoothing = options.number_in("label-smoothing", 0, 0.999);
  parts.neftune = options.number_in("neftune", 0, 1e6);
  parts.seed = parts.plan.seed;
  const data::Dataset& texts = data.train.texts;
  std::vector<std::int64_t> lengths;
  for (const data::Example& example : texts.examples) lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  parts.recompute = choose_recompute(options, earlier, model.decoder->config(), data::Plan(lengths, parts.plan),
                                     lengths, model.decoder->dtype(), report);
  core::Json facts = input_facts(report, model, start);
  facts["recompute"] = parts.recompute ? "layer" : "none";
  for (const DataUsed& used : report.data) facts[used.name + " data"] = used.report.sha256;
  parts.train = std::move(data.train);
  if (data.validation) parts.evaluation.emplace_back("validation", std::move(*data.validation));
  const std::vector<std::string> labels = data.labels;
  train::Classification objective(std::move(parts));

  report.shown_metrics = {"accuracy", "macro_f1", "matthews"};
  report.remarks.emplace_back(
      "objective", fmt::format("cross-entropy of {} labels from the score head at a text's last token", labels.size()));
  report.pipeline_tag = "text-classification";
  report.usage = peft_usage(resolved.name, labels) +
                 fmt::format("`lowrank evaluate {} --adapter THIS_FOLDER --task classification --data texts.jsonl`.\n",
                             resolved.name);
  train::TrainOptions training = train_options(options, 2e-4);
  if (options.has("preset") && training.early_stopping > 0 && !objective.has_validation()) {
    progress.note("there is no validation data, so the run is not stopped early");
    training.early_stopping = 0;
  }
  const auto afterwards = [&](RunReport& about, train::TrainResult&) {
    if (objective.has_validation()) report_validation(objective, labels, about);
  };
  return train_and_report(options, console, objective, report, training, facts, observer, afterwards);
}

}  // namespace lowrank::apps
