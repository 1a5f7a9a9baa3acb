#include "lowrank/recipes/evaluation/evaluate_images.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/lora/inject.h"
#include "lowrank/recipes/evaluation/named_paths.h"
#include "lowrank/recipes/images/image_model.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/train/image_classification.h"

namespace lowrank::recipes {

namespace {

using core::Json;

bool knows(const std::vector<std::string>& classes, const std::vector<std::string>& labels) {
  return std::all_of(labels.begin(), labels.end(), [&](const std::string& label) {
    return std::find(classes.begin(), classes.end(), label) != classes.end();
  });
}

eval::ImageScores measure(ImageModel& model, const data::ImageFiles& files, Observer& observer) {
  const data::ImageSet images = data::load_images(files, model.network.config().labels, model.processor,
                                                  model.network.config().num_channels, &observer);
  return train::score_images(model.network, images, train::or_alone(observer.ranks()), &observer);
}

Json to_json(const eval::ImageScores& found, const std::vector<std::string>& labels) {
  Json json = {{"pictures", found.scores.examples}, {"loss", found.loss}};
  json.update(scores_json(found.scores, labels));
  return json;
}

}  // namespace

ImagesResult evaluate_images(const EvaluateSpec& asked, EvaluationObserver& observer) {
  EvaluateSpec spec = asked;
  const Fields fields = fields_of(spec);
  const auto goes_with_it = {"task", "data", "adapter", "threads"};
  for (const FieldInfo& field : fields.info()) {
    if (fields.given(field.name) &&
        std::find(goes_with_it.begin(), goes_with_it.end(), field.name) == goes_with_it.end())
      fields.fail(field.name, "does not go with `task` image-classification; leave it out");
  }
  if (spec.data.empty()) throw ConfigError("lowrank evaluate: `data` is missing; give a folder of class folders");
  if (!device_of(spec.device).is_cpu()) fields.fail("device", kImagesOnCpu);
  const kernels::RuntimeScope runtime(begin(spec, fields));
  const std::optional<std::filesystem::path> adapter = adapter_of(spec.model, spec.adapter);
  ImagesResult result;
  std::vector<data::ImageFiles> files;
  for (const NamedPaths& named : named_paths("data", spec.data)) {
    files.push_back(data::find_images(named.paths, data::Part::kTest));
    result.sets.push_back({named.name, named.named, {}, {}});
  }
  ImageModel model = open_image_model(spec.model);
  const std::vector<std::string> own = model.network.config().labels;
  Rows facts = {{"model", fmt::format("{} (resnet, {} parameters, {} classes)", model.resolved.name,
                                      core::format_count(parameter_count(model.network)), own.size())}};
  // With an adapter the base is scored where it knows the set's classes.
  for (std::size_t i = 0; i < files.size(); ++i)
    if (!adapter || knows(own, files[i].labels)) result.sets[i].base = measure(model, files[i], observer);
  std::vector<std::string>& labels = result.labels = own;
  std::optional<lora::Injected> injected;
  if (adapter) {
    labels = read_labels(*adapter).value_or(own);
    if (labels.size() == own.size())
      model.network.rename_labels(labels);
    else
      model.network.new_head(labels, 0);  // the adapter's file has its values
    injected.emplace(lora::load_injected(model.network.network(), *adapter));
    facts.emplace_back("adapter", fmt::format("{} (rank {}, {} modules, {} classes)", adapter->string(),
                                              injected->config().r, injected->modules().size(), labels.size()));
    for (std::size_t i = 0; i < files.size(); ++i) result.sets[i].adapter = measure(model, files[i], observer);
  }
  facts.emplace_back("preprocessing", model.processor.origin);
  observer.on_facts(facts);

  Json list = Json::object();
  for (const ImagesSet& set : result.sets) {
    Json json = to_json(set.shown(), labels);
    if (set.adapter && set.base) json["base"] = to_json(*set.base, own);
    list[set.name] = std::move(json);
  }
  result.json = result.sets.size() == 1 && !result.sets.front().named ? list.front() : Json{{"sets", list}};
  return result;
}

}  // namespace lowrank::recipes
