#include "lowrank/apps/training/preset.h"

#include <fmt/format.h>

namespace lowrank::apps {

namespace {

struct Setting {
  const char* name;
  core::Json value;
  bool of_adapter = false;  // not with --adapter or --method full, which bring their own
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

Options with_preset(const Options& options, const Console& console) {
  if (!options.has("preset")) return options;
  const bool own_adapter = options.has("adapter") || options.text("method") == "full";
  std::map<std::string, core::Json> changes;
  std::string text;
  for (const Setting& setting : few_shot()) {
    const std::string name = setting.name;
    if (options.given(name) || (setting.of_adapter && own_adapter)) continue;
    if (name == "epochs" && options.given("max-steps")) continue;
    if (name == "batch-size" && options.given("batch-tokens")) continue;
    if (name == "val-split" && (options.given("val-data") || options.given("folds") || options.given("fold"))) continue;
    changes[name] = setting.value;
    text += fmt::format(" --{} {}", name, setting.value.dump());
  }
  if (changes.empty()) return options;
  console.line(fmt::format("--preset {} sets{}", options.text("preset"), text));
  return options.for_verb(options.verb(), changes, "--preset " + options.text("preset"));
}

}  // namespace lowrank::apps
