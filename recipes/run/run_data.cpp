#include "lowrank/recipes/run/run_data.h"

#include <fmt/format.h>

#include <charconv>

#include "lowrank/core/text.h"
#include "lowrank/data/parts.h"
#include "lowrank/data/preferences.h"
#include "lowrank/data/sources.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

std::vector<fs::path> paths_of(const std::vector<std::string>& texts) { return {texts.begin(), texts.end()}; }

void require_data(const Fields& fields, const DataSpec& spec) {
  if (spec.data.empty() && !spec.train_source) fields.fail("data", "is missing; name files or folders to learn from");
}

ValidationPaths validation_paths(const Fields& fields, const DataSpec& spec) {
  ValidationPaths result;
  if (!spec.val_data.empty()) return {paths_of(spec.val_data), "on `val-data`"};
  if (spec.train_source || spec.validation_source || fields.given("val-split")) return result;
  result.paths = data::validation_files(paths_of(spec.data), data::parse_format(spec.format));
  for (std::size_t i = 0; i < result.paths.size() && i < 3; ++i) {
    result.how += (i == 0 ? "on " : ", ") + result.paths[i].string();
  }
  if (result.paths.size() > 3) result.how += fmt::format(" and {} more", result.paths.size() - 3);
  if (!result.paths.empty()) result.how += result.paths.size() == 1 ? ", which lies in `data`" : ", which lie in `data`";
  return result;
}

RunData read_run_data(TrainingRun& run, const DataSpec& spec, const TrainSpec& training, const LittleDataSpec& little,
                      bool halves, const data::Tokenizer& tokenizer, std::int64_t max_positions, DataCache* cache) {
  require_data(run.fields, spec);
  data::DataOptions reading = data_options(spec, run.fields, max_positions);
  reading.chat = run.chat_layout(spec.chat, tokenizer);
  const auto load = [&](const std::vector<fs::path>& paths, const DataSource& source, data::DataOptions how,
                        data::Part part) {
    how.files.part = part;
    if (part != data::Part::kTrain) how.files.temperature = 1;
    if (source) return source(tokenizer, how);
    return cache != nullptr ? cache->load(paths, tokenizer, how, &run.observer)
                            : data::load(paths, tokenizer, how, &run.observer);
  };
  RunData result;
  result.train = load(paths_of(spec.data), spec.train_source, reading, data::Part::kTrain);
  const std::uint64_t seed = split_seed(spec, training);
  std::string how;
  if (little.fold) {
    data::Split parts = held_out_fold(run.fields, spec, *little.fold, seed, result.train);
    how = parts.how;
    result.train = std::move(parts.train);
    result.evaluation.emplace_back("validation", std::move(parts.validation));
  } else if (const ValidationPaths held = validation_paths(run.fields, spec);
             spec.validation_source || !held.paths.empty()) {
    result.evaluation.emplace_back("validation",
                                   load(held.paths, spec.validation_source, reading, data::Part::kValidation));
    how = spec.validation_source ? "on `val-data`" : held.how;
  } else if (spec.val_split > 0) {
    data::Dataset parted = data::take_validation(result.train, spec.val_split, seed, how, reading.threads);
    if (!parted.examples.empty()) result.evaluation.emplace_back("validation", std::move(parted));
  } else {
    how = "none (`val-split` 0)";
  }
  run.report.validation_how = run.spelled(how);
  if (little.share) {
    result.train = data::share_of(result.train, training_share(run.fields, *little.share), seed_of(training));
  }
  if (spec.has_general()) {
    // What is forgotten is measured on plain text, whatever the rows of the data are.
    data::DataOptions general = reading;
    general.format = data::Format::kAuto;
    general.files.map = nullptr;
    data::Dataset text = load(paths_of(spec.general_data), spec.general_source, general, data::Part::kTest);
    if (halves) {
      data::Split parts = data::split(text, 0.5, seed);
      if (parts.validation.examples.empty()) {
        run.fields.fail("max-forgetting",
                        "needs general text that can be parted, one half to choose by and one to report; "
                        "give `general-data` of 20 documents or of more than one piece");
      }
      result.choosing = std::move(parts.train);
      text = std::move(parts.validation);
    }
    result.evaluation.emplace_back("general", std::move(text));
  }
  run.used("train", result.train.report);
  for (const auto& [name, set] : result.evaluation) run.used(name, set.report);
  if (!result.choosing.examples.empty()) run.used("general, to choose by", result.choosing.report);
  return result;
}

RunData read_pairs(TrainingRun& run, const DataSpec& spec, const TrainSpec& training, const models::LoadedModel& model,
                   bool judged) {
  require_data(run.fields, spec);
  data::DataOptions reading;
  reading.seq_len = sequence_length(spec, run.fields, model.decoder->config().max_positions);
  reading.chat = run.chat_layout(spec.chat, *model.tokenizer);
  const auto load = [&](const std::vector<fs::path>& paths, const DataSource& source, data::Part part) {
    return source ? source(*model.tokenizer, reading)
                  : data::load_preferences(paths, *model.tokenizer, reading.seq_len, &run.observer, reading.chat,
                                           file_options(spec.columns, {}, part), judged);
  };
  RunData result;
  result.train = load(paths_of(spec.data), spec.train_source, data::Part::kTrain);
  std::string how;
  if (const ValidationPaths held = validation_paths(run.fields, spec);
      spec.validation_source || !held.paths.empty()) {
    result.evaluation.emplace_back("validation", load(held.paths, spec.validation_source, data::Part::kValidation));
    how = spec.validation_source ? "on `val-data`" : held.how;
  } else if (spec.val_split > 0) {
    data::Split parts = data::split_preferences(result.train, spec.val_split, split_seed(spec, training));
    how = parts.how;
    result.train = std::move(parts.train);
    if (!parts.validation.examples.empty()) result.evaluation.emplace_back("validation", std::move(parts.validation));
  } else {
    how = "none (`val-split` 0)";
  }
  run.report.validation_how = run.spelled(how);
  run.used("train", result.train.report);
  for (const auto& [name, set] : result.evaluation) run.used(name, set.report);
  return result;
}

data::Split held_out_fold(const Fields& fields, const DataSpec& spec, const std::string& fold, std::uint64_t seed,
                          const data::Dataset& all) {
  const std::size_t slash = fold.find('/');
  int index = 0, folds = 0;
  const char* const end = fold.data() + fold.size();
  const bool read = slash != std::string::npos &&
                    std::from_chars(fold.data(), fold.data() + slash, index).ptr == fold.data() + slash &&
                    std::from_chars(fold.data() + slash + 1, end, folds).ptr == end;
  if (!read || folds < 2 || index < 1 || index > folds) {
    fields.fail("fold", fmt::format("expected I/K with I from 1 to K, such as 2/5, found '{}'", core::printable(fold)));
  }
  if (spec.has_validation()) fields.fail("fold", "takes the validation data from `data`; leave `val-data` out");
  if (fields.given("val-split") && spec.val_split != DataSpec().val_split) {
    fields.fail("val-split", "a fold is as large as the number of folds says; leave it out");
  }
  return data::fold(all, index, folds, seed);
}

double training_share(const Fields& fields, double share) {
  if (share == 0) fields.fail("share", "0 leaves nothing to train on; give a share such as 0.25");
  return share;
}

}  // namespace lowrank::recipes
