#include "lowrank/recipes/classification/score_head.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/visible.h"
#include "lowrank/lora/target_parameters.h"

namespace lowrank::recipes {

models::LoadedClassifier make_classifier(const TrainingRun& run, const AdapterSpec& spec,
                                         const models::LoadedModel& model, std::uint64_t seed, std::int64_t labels) {
  if (run.start) {
    check_against_adapter(spec, run.fields, lora::read_adapter_config(*run.start), [&](const lora::LoraConfig& config) {
      return lora::targets_in(model.decoder->slot_table(), config);
    });
    std::vector<std::string> notes;
    models::LoadedClassifier loaded = models::load_classifier(model.decoder, *run.start, &notes);
    for (const std::string& note : notes) run.observer.note(note);
    if (loaded.classifier.labels() != labels) {
      const std::int64_t found = loaded.classifier.labels();
      loaded.adapter.detach();
      throw ConfigError(
          fmt::format("{}: its score head has {} labels, and this run needs {}; start from another adapter, or "
                      "from the base",
                      run.start->string(), found, labels));
    }
    take_dropout(spec, loaded.adapter);
    return loaded;
  }
  models::SequenceClassifier classifier = models::new_classifier(model, labels, seed);
  lora::LoraConfig config = lora_config(spec, run.fields);
  config.task_type = "SEQ_CLS";
  auto& whole = config.modules_to_save;
  if (std::find(whole.begin(), whole.end(), models::SequenceClassifier::kScore) == whole.end()) {
    whole.emplace_back(models::SequenceClassifier::kScore);
  }
  lora::SlotTable slots = classifier.slot_table();
  slots.base_name = run.resolved.base_name;
  lora::Adapter adapter = lora::attach(slots, config, seed);
  return {std::move(classifier), std::move(adapter)};
}

std::string peft_usage(const std::string& base_name, const std::vector<std::string>& labels) {
  const std::string head =
      labels.empty()
          ? "num_labels=1"
          : fmt::format("num_labels={}, label2id=label2id, id2label={{i: name for name, i in label2id.items()}}",
                        labels.size());
  return fmt::format(
      "Use it with transformers and PEFT:\n\n```python\n{}from transformers import "
      "AutoModelForSequenceClassification\nfrom "
      "peft import PeftModel\n\n{}base = AutoModelForSequenceClassification.from_pretrained({}, {})\nmodel = "
      "PeftModel.from_pretrained(base, \"THIS_FOLDER\")\n```\n\nor ",
      labels.empty() ? "" : "import json\n",
      labels.empty() ? "" : "label2id = json.load(open(\"THIS_FOLDER/label2id.json\"))\n",
      core::visible_yaml(core::json_text(core::Json(base_name))), head);
}

}  // namespace lowrank::recipes
