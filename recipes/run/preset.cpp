#include "lowrank/recipes/run/preset.h"

#include <fmt/format.h>

#include "lowrank/core/json_text.h"
#include "lowrank/recipes/run/run_data.h"

namespace lowrank::recipes {

namespace {

struct Setting {
  const char* name;
  core::Json value;
  bool of_adapter = false;  // not where an adapter is started from or every weight trained: they bring their own
};

/// Tens to hundreds of documents: a small adapter with dropout, enough small steps to learn at all, a fifth of the data
/// to stop by, and the average of the last steps instead of the last one.
const std::vector<Setting>& few_shot() {
  static const std::vector<Setting> settings = {
      {"rank", 8, true},  {"dropout", 0.1, true}, {"epochs", 10}, {"batch-size", 2},     {"warmup", 0.1},
      {"val-split", 0.2}, {"weight-decay", 0.01}, {"ema", 0.9},   {"early-stopping", 3},
  };
  return settings;
}

}  // namespace

void apply_preset(FinetuneSpec& spec, Observer& observer) {
  if (!spec.little.preset) return;
  Fields fields = fields_of(spec);
  const bool own_adapter = spec.adapter.adapter || spec.adapter.method == "full";
  const std::string source = "`preset` " + *spec.little.preset;
  std::string text;
  for (const Setting& setting : few_shot()) {
    const std::string name = setting.name;
    if (fields.given(name) || (setting.of_adapter && own_adapter)) continue;
    if (name == "epochs" && spec.train.max_steps) continue;
    if (name == "batch-size" && spec.train.batch_tokens) continue;
    const bool validates = spec.data.has_validation() || spec.little.folds || spec.little.fold ||
                           !validation_paths(fields, spec.data).paths.empty();
    if (name == "val-split" && validates) continue;
    fields.set(name, setting.value, source);
    text += fmt::format(" `{}` {}", name, core::json_text(setting.value));
  }
  if (text.empty()) return;
  spec.run.command.clear();  // it is another command now
  observer.note(source + " sets" + text);
}

void stop_by_validation_only(train::TrainOptions& options, bool has_validation, Observer& observer) {
  if (options.early_stopping == 0 || has_validation) return;
  observer.note("there is no validation data, so the run is not stopped early");
  options.early_stopping = 0;
}

}  // namespace lowrank::recipes
