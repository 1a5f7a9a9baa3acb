#include "lowrank/apps/images/image_evaluate.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "lowrank/apps/inputs/named_paths.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/inject.h"
#include "lowrank/recipes/images/image_model.h"

namespace lowrank::apps {

namespace {

using core::Json;

struct Set {
  NamedPaths named;
  data::ImageFiles files;
  std::optional<eval::ImageScores> base, adapter;
};

bool knows(const std::vector<std::string>& classes, const std::vector<std::string>& labels) {
  return std::all_of(labels.begin(), labels.end(), [&](const std::string& label) {
    return std::find(classes.begin(), classes.end(), label) != classes.end();
  });
}

eval::ImageScores measure(recipes::ImageModel& model, const Set& set, core::ProgressObserver& progress) {
  const data::ImageSet images = data::load_images(set.files, model.network.config().labels, model.processor,
                                                  model.network.config().num_channels, &progress);
  return eval::score_images(model.network, images, &progress);
}

Json to_json(const eval::ImageScores& found, const std::vector<std::string>& labels) {
  Json json = {{"pictures", found.scores.examples}, {"loss", found.loss}};
  json.update(recipes::scores_json(found.scores, labels));
  return json;
}

std::vector<std::string> row(const Set& set, const char* who, const eval::ImageScores& found) {
  return {set.named.name,
          who,
          core::format_count(found.scores.examples),
          fmt::format("{:.4f}", found.loss),
          fmt::format("{:.2f} %", 100 * found.scores.accuracy),
          fmt::format("{:.4f}", found.scores.macro_f1),
          fmt::format("{:.4f}", found.scores.matthews)};
}

}  // namespace

int evaluate_images(const Options& options, const Console& console) {
  const auto goes_with_it = {"task", "data", "adapter", "threads", "json", "quiet"};
  for (const OptionSpec& option : options.verb().options) {
    if (options.given(option.name) &&
        std::find(goes_with_it.begin(), goes_with_it.end(), option.name) == goes_with_it.end())
      options.fail(option.name, "does not go with --task image-classification; leave it out");
  }
  if (!options.has("data")) throw ConfigError("lowrank evaluate: --data is missing; give a folder of class folders");
  set_threads(options);
  ConsoleProgress progress(console);
  const std::optional<std::filesystem::path> adapter = adapter_asked_for(options);
  std::vector<Set> sets;
  for (NamedPaths& named : named_paths(options, "data")) {
    Set set{std::move(named), {}, {}, {}};
    set.files = data::find_images(set.named.paths);
    sets.push_back(std::move(set));
  }
  recipes::ImageModel model = recipes::open_image_model(options.positional(0));
  const std::vector<std::string> own = model.network.config().labels;
  std::vector<std::pair<std::string, std::string>> opening = {
      {"model", fmt::format("{} (resnet, {} parameters, {} classes)", model.resolved.name,
                            core::format_count(recipes::parameter_count(model.network)), own.size())}};
  // With an adapter the base is scored where it knows the set's classes.
  for (Set& set : sets)
    if (!adapter || knows(own, set.files.labels)) set.base = measure(model, set, progress);
  std::vector<std::string> labels = own;
  std::optional<lora::Injected> injected;
  if (adapter) {
    labels = recipes::read_labels(*adapter).value_or(own);
    if (labels.size() == own.size())
      model.network.rename_labels(labels);
    else
      model.network.new_head(labels, 0);  // the adapter's file has its values
    injected.emplace(lora::load_injected(model.network.network(), *adapter));
    opening.emplace_back("adapter", fmt::format("{} (rank {}, {} modules, {} classes)", adapter->string(),
                                                injected->config().r, injected->modules().size(), labels.size()));
    for (Set& set : sets) set.adapter = measure(model, set, progress);
  }
  opening.emplace_back("preprocessing", model.processor.origin);
  if (!console.silent()) print_out(fields(opening));

  std::vector<std::vector<std::string>> rows;
  std::string matrices;
  Json list = Json::object();
  for (const Set& set : sets) {
    if (set.base) rows.push_back(row(set, adapter ? "base" : "model", *set.base));
    if (set.adapter) rows.push_back(row(set, "adapter", *set.adapter));
    const eval::ImageScores& shown = set.adapter ? *set.adapter : *set.base;
    matrices += fmt::format("\n{}:\n{}", set.named.name, recipes::confusion_text(shown.scores, labels));
    Json json = to_json(shown, labels);
    if (set.adapter && set.base) json["base"] = to_json(*set.base, own);
    list[set.named.name] = std::move(json);
  }
  console.line();
  if (!console.silent())
    print_out(table({"set", "who", "pictures", "loss", "accuracy", "macro F1", "Matthews"}, rows) + matrices);
  console.result(sets.size() == 1 && !sets.front().named.named ? list.front() : Json{{"sets", list}});
  return 0;
}

}  // namespace lowrank::apps
