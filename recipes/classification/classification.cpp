#include "lowrank/recipes/classification/classification.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/table.h"
#include "lowrank/core/text.h"
#include "lowrank/data/labelled.h"
#include "lowrank/data/parts.h"
#include "lowrank/recipes/classification/classification_report.h"
#include "lowrank/recipes/classification/score_head.h"
#include "lowrank/recipes/run/card_parts.h"
#include "lowrank/recipes/run/preset.h"
#include "lowrank/recipes/run/health.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/train/classification.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

void refuse_what_has_no_meaning(const Fields& fields, const FinetuneSpec& spec) {
  if (spec.adapter.method == "full") {
    fields.fail("method", "`task` classification trains an adapter and a score head; leave `method` full out");
  }
  for (const auto& [name, why] : std::initializer_list<std::pair<const char*, const char*>>{
           {"general-data", "measures perplexity, which a classifier has none of"},
           {"max-forgetting", "measures perplexity, which a classifier has none of"},
           {"train-on-prompt", "is for prompts and answers, and labelled texts have neither"},
           {"loss-on", "is for the turns that are learned, and of labelled texts the label is"},
           {"token-cache", "keeps texts that are learned, not labelled ones"},
           {"format", "is for text and instruction data; labelled texts are rows {\"text\", \"label\"}"},
           {"layout", "makes a text of a row, and labelled texts are columns; name them with `columns`"},
           {"mix-temperature", "mixes texts that are learned, not labelled ones"},
           {"eval-budget", "parts validation text; labelled texts are measured in whole"},
           {"samples", "continues texts, which a classifier does not"}}) {
    if (fields.given(name)) fields.fail(name, fmt::format("{}; leave it out with `task` classification", why));
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

LabelledData read_labelled(TrainingRun& run, const FinetuneSpec& spec, const models::LoadedModel& model) {
  const Fields& fields = run.fields;
  require_data(fields, spec.data);
  const int seq_len = sequence_length(spec.data, fields, model.decoder->config().max_positions);
  const std::uint64_t seed = seed_of(spec.train);
  // A run that goes on from an adapter has its labels.
  std::vector<std::string> known;
  if (run.start) known = models::read_labels(*run.start, models::saved_labels(*run.start, *model.decoder));
  const auto layout = run.chat_layout(spec.data.chat, *model.tokenizer);
  const data::LabelledTexts all =
      data::load_labelled(paths_of(spec.data.data), *model.tokenizer, seq_len, known, layout,
                          file_options(spec.data.columns, {}, data::Part::kTrain));
  if (all.labels.size() < 2) {
    throw DataError(
        fmt::format("`data` has one label alone, '{}'; there is nothing to tell apart, so give texts of two labels "
                    "or more",
                    core::printable(all.labels.front(), 80)));
  }
  LabelledData result;
  result.labels = all.labels;
  data::Dataset train = all.texts;
  const ValidationPaths held = validation_paths(fields, spec.data);
  std::string how;
  if (spec.little.fold || (held.paths.empty() && spec.data.val_split > 0)) {
    data::Split parts = spec.little.fold ? held_out_fold(fields, spec.data, *spec.little.fold,
                                                         split_seed(spec.data, spec.train), all.texts)
                                         : data::split_labelled(all, spec.data.val_split, split_seed(spec.data, spec.train));
    how = parts.how;
    train = std::move(parts.train);
    if (!parts.validation.examples.empty()) result.validation = set_of(all, std::move(parts.validation));
  } else if (!held.paths.empty()) {
    data::LabelledTexts texts =
        data::load_labelled(held.paths, *model.tokenizer, seq_len, all.labels, layout,
                            file_options(spec.data.columns, {}, data::Part::kValidation));
    data::Dataset part = texts.texts;
    result.validation = set_of(texts, std::move(part));
    how = held.how;
  } else {
    how = "none (`val-split` 0)";
  }
  run.report.validation_how = run.spelled(how);
  if (spec.little.share) train = data::share_of(train, training_share(fields, *spec.little.share), seed);
  result.train_counts = all.counts(train);
  result.train = set_of(all, std::move(train));
  run.used("train", result.train.texts.report);
  if (result.validation) {
    result.validation_counts.assign(all.labels.size(), 0);
    for (const std::int64_t k : result.validation->classes) ++result.validation_counts[static_cast<std::size_t>(k)];
    run.used("validation", result.validation->texts.report);
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

ModelResult finetune_classifier(const FinetuneSpec& spec, const Fields& fields, Observer& observer,
                                std::shared_ptr<SharedBase> base) {
  ModelResult result;
  TrainingRun run("finetune", spec.model, fields, spec.run, observer);
  refuse_what_has_no_meaning(fields, spec);
  if (spec.adapter.add_tokens)
    fields.fail("add-tokens", "is for models that write text, and this one scores it; leave it out");
  run.resolve(spec.adapter);
  if (!run.start) lora_config(spec.adapter, fields);  // its mistakes show before anything is read
  if (!run.open(result)) return result;
  models::LoadedModel& model = run.load(*base);
  RunReport& report = run.report;
  LabelledData data = read_labelled(run, spec, model);
  Attached attached(base);
  models::LoadedClassifier made =
      make_classifier(run, spec.adapter, model, seed_of(spec.train), static_cast<std::int64_t>(data.labels.size()));
  lora::Adapter& adapter = attached.put(std::move(made.adapter));
  run.take(adapter);
  report_classes(data, report);

  train::Classification::Parts parts{made.classifier};
  parts.adapter = &adapter;
  parts.weights = &model.weights;
  parts.labels = data.labels;
  run.carry_chat(*model.tokenizer, model.decoder->config());
  parts.save_extra = run.save_carried();
  parts.plan = plan_options(spec.train, spec.data, fields);
  run.share(parts);
  parts.label_smoothing = spec.regularisation.label_smoothing;
  parts.neftune = spec.regularisation.neftune;
  if (spec.regularisation.router_aux_loss != 0)
    fields.fail("router-aux-loss", "is for language modelling; labels have no such loss beside them");
  parts.seed = parts.plan.seed;
  parts.recompute = run.choose_recompute(*model.decoder, parts.plan, train::item_lengths(data.train.texts.examples));
  std::vector<std::pair<std::string, data::Dataset>> held_out;
  if (data.validation) held_out.emplace_back("validation", data.validation->texts);
  check_health(run, data.train.texts, held_out, *model.tokenizer, model.decoder->config(), spec.train,
               data::Learns::kLabels, true);
  parts.train = std::move(data.train);
  if (data.validation) parts.evaluation.emplace_back("validation", std::move(*data.validation));
  const std::vector<std::string> labels = data.labels;
  train::Classification objective(std::move(parts));

  report.shown_metrics = {"accuracy", "macro_f1", "matthews"};
  report.remarks.emplace_back(
      "objective", fmt::format("cross-entropy of {} labels from the score head at a text's last token", labels.size()));
  report.pipeline_tag = "text-classification";
  report.usage = peft_usage(shown_name(report.model_name), labels) +
                 card_inline(fmt::format("lowrank evaluate {} --adapter THIS_FOLDER --task classification --data texts.jsonl",
                                         core::shell_quoted(shown_name(report.model_name)))) +
                 ".\n";
  train::TrainOptions options = train_options(spec.train, spec.adapter, spec.run, 2e-4);
  regularise(options, spec.regularisation, fields);
  if (spec.little.preset) stop_by_validation_only(options, objective.has_validation(), observer);
  const auto afterwards = [&](RunReport& about, train::TrainResult&) {
    if (objective.has_validation()) report_validation(objective, labels, about);
  };
  run.train(result, objective, options, afterwards);
  attached.hand_over(result);
  return result;
}

}  // namespace lowrank::recipes
