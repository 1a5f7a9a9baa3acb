#include "lowrank/recipes/finetune.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/mixture.h"
#include "lowrank/recipes/classification/classification.h"
#include "lowrank/recipes/images/image_classification.h"
#include "lowrank/recipes/run/evaluation_plan.h"
#include "lowrank/recipes/run/health.h"
#include "lowrank/recipes/run/plan_ahead.h"
#include "lowrank/recipes/run/preset.h"
#include "lowrank/recipes/run/regularisation.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/samples.h"
#include "lowrank/recipes/run/training_run.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

ModelResult finetune_text(const FinetuneSpec& spec, const Fields& fields, Observer& observer,
                          std::shared_ptr<SharedBase> base) {
  ModelResult result;
  TrainingRun run("finetune", spec.model, fields, spec.run, observer);
  const bool full = spec.adapter.method == "full";
  run.resolve(spec.adapter);
  if (full && run.start)
    fields.fail("method", "full trains the model's own weights; merge the adapter first (lowrank merge)");
  if (full) {
    refuse_adapter_fields(fields);
    for (const char* name : {"delta-l1", "delta-l2", "orthogonality", "max-delta-norm"}) {
      if (fields.given(name)) fields.fail(name, "is for `method` lora");
    }
  }
  const std::optional<double> bound = max_forgetting(spec.regularisation, spec.data, spec.adapter, fields);
  if (!full && !run.start) lora_config(spec.adapter, fields);  // its mistakes show before anything is read
  if (!run.open(result)) return result;

  models::LoadedModel& model = run.load(*base, full);
  RunData data = read_run_data(run, spec.data, spec.train, spec.little, bound.has_value(), *model.tokenizer,
                               model.decoder->config().max_positions, base->data());
  Attached attached(base);
  lora::Adapter* adapter = nullptr;
  if (!full) {
    lora::SlotTable slots = model.decoder->slot_table();
    slots.base_name = run.resolved.base_name;
    adapter = &attached.put(run.make_adapter(spec.adapter, slots, seed_of(spec.train)));
    run.take(*adapter);
  } else {
    run.report.trainable_parameters = model.decoder->config().parameter_count();
    run.report.result_bytes = static_cast<std::uint64_t>(run.report.trainable_parameters) * 4;
  }

  train::CausalLm::Parts parts;
  parts.decoder = model.decoder;
  parts.adapter = adapter;
  parts.tokenizer = model.tokenizer.get();
  parts.weights = &model.weights;
  parts.plan = plan_options(spec.train, spec.data, fields);
  data::weigh(parts.plan, data.train);
  run.share(parts);
  parts.label_smoothing = spec.regularisation.label_smoothing;
  parts.neftune = spec.regularisation.neftune;
  parts.router_aux_loss = router_aux_loss(spec.regularisation.router_aux_loss, *model.decoder, fields);
  parts.seed = seed_of(spec.train);
  run.carry_chat(*model.tokenizer, model.decoder->config());
  parts.save_extra = run.save_carried();
  PlanAhead ahead(parts.plan, data.train);
  std::vector<data::Finding> found = examine_data(run, data.train, data.evaluation, *model.tokenizer,
                                                  model.decoder->config(), data::Learns::kAnswers);
  parts.lengths = ahead.lengths();
  parts.recompute = run.choose_recompute(*model.decoder, parts.plan, parts.lengths);
  tell_health(run, std::move(found), model.decoder->config(), spec.train, true, full);
  run.report.masks = label_masks(data.train, *model.tokenizer);
  train::TrainOptions options = train_options(spec.train, spec.adapter, spec.run, full ? 2e-5 : 2e-4);
  regularise(options, spec.regularisation, fields);
  fit_evaluation(run, data, spec.train, model.decoder->config().parameter_count(), full, options);
  const bool held_out = !data.evaluation.empty() && data.evaluation.front().first == "validation";
  run.report.samples =
      before_and_after(model, adapter, run.start, held_out ? data.evaluation.front().second : data.train,
                       static_cast<int>(spec.samples), run.turn_ends);
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  parts.whole = std::move(data.whole);
  train::CausalLm objective(std::move(parts));
  if (spec.little.preset) stop_by_validation_only(options, objective.has_validation(), observer);
  const auto afterwards = [&](RunReport& report, train::TrainResult& trained) {
    if (bound)
      bound_forgetting(report, trained, objective, *model.decoder, *adapter, data.choosing, *bound, spec.run.out,
                       observer, run.sync);
    report_overfitting(report, trained, objective, adapter);
  };
  run.train(result, objective, options, afterwards);
  attached.hand_over(result);
  return result;
}

}  // namespace

void describe(Fields& t, FinetuneSpec& s) {
  describe_text(t, s.data);
  describe_method(t, s.adapter);
  describe(t, s.adapter);
  describe(t, s.train, {.lr = "2e-4; 2e-5 for `method` full"});
  describe(t, s.regularisation);
  describe(t, s.little);
  t.group("Data");
  t.add("task", &s.task, "NAME",
        "What is learned, where it is not the text itself: the labels of rows {\"text\", \"label\"}, or of "
        "pictures in a folder of class folders (or a .csv)",
        {.choices = {"classification", "image-classification"}});
  describe_dtype(t, s.run);
  t.group("Run");
  t.add("samples", &s.samples, "N", "Held-out beginnings that report.html shows continued, before and after",
        {.range = {{0, 100}}, .identity = Identity::kFree});
  describe(t, s.run);
}

ModelResult finetune(const FinetuneSpec& asked, Observer& observer, std::shared_ptr<SharedBase> base) {
  FinetuneSpec spec = asked;
  apply_preset(spec, observer);
  if (base == nullptr) base = std::make_shared<SharedBase>(false);
  if (spec.task == "image-classification") return finetune_images(spec, observer);
  const Fields fields = fields_of(spec);
  if (spec.adapter.method == "head") fields.fail("method", "head is for `task` image-classification");
  if (spec.task) return finetune_classifier(spec, fields, observer, std::move(base));
  return finetune_text(spec, fields, observer, std::move(base));
}

}  // namespace lowrank::recipes
