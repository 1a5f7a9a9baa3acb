#include "lowrank/recipes/pretrain.h"

#include <fmt/format.h>

#include "lowrank/data/mixture.h"
#include "lowrank/models/config.h"
#include "lowrank/recipes/run/evaluation_plan.h"
#include "lowrank/recipes/run/health.h"
#include "lowrank/recipes/run/plan_ahead.h"
#include "lowrank/recipes/run/regularisation.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/train/causal_lm.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

void describe(Fields& t, PretrainSpec& s) {
  t.group("Model");
  t.add("config", &s.config, "FILE", "config.json of the model to make",
        {.required = true, .identity = Identity::kHash});
  t.add("tokenizer", &s.tokenizer, "FILE",
        "tokenizer.json or tokenizer.model, or the folder of it (see `lowrank tokenizer train`)",
        {.required = true, .identity = Identity::kHash});
  t.add("save-dtype", &s.save_dtype, "TYPE", "Type of the weights in the result", {.choices = {"bfloat16", "float32"}});
  describe_text(t, s.data);
  describe(t, s.train, {.lr = "1e-3"});
  describe_router_loss(t, s.router_aux_loss, "that of `config` where it has output_router_logits, else 0");
  describe(t, s.run);
}

namespace {

// transformers' models add the loss to their own where their config asks for the routers' logits.
double own_router_loss(const models::DecoderConfig& config) {
  const core::JsonView keys(config.family_keys, "config.json");
  return keys.get_bool("output_router_logits", false) ? keys.get_double("router_aux_loss_coef", 0) : 0;
}

}  // namespace

RunResult pretrain(const PretrainSpec& asked, Observer& observer) {
  PretrainSpec spec = asked;
  const Fields fields = fields_of(spec);
  RunResult result;
  TrainingRun run("pretrain", "", fields, spec.run, observer);
  const fs::path config_file = spec.config;
  fs::path tokenizer_folder = spec.tokenizer;
  if (fs::is_regular_file(tokenizer_folder)) tokenizer_folder = tokenizer_folder.parent_path();
  if (!run.open(result, {config_file, tokenizer_folder})) return result;

  const core::Json config_json = core::read_json(core::FileRef::named(config_file));
  const models::DecoderConfig config = models::parse_config(core::JsonView(config_json, config_file.string()));
  const auto tokenizer = data::Tokenizer::load(tokenizer_folder);
  if (tokenizer->size() > config.vocab_size) {
    fields.fail("tokenizer",
                fmt::format("has {} tokens but vocab_size in {} is {}; raise vocab_size or train a smaller "
                            "tokenizer",
                            tokenizer->size(), config_file.string(), config.vocab_size));
  }

  RunReport& report = run.report;
  report.model_path = config_file.string();
  report.model_name = config_file.string() + " (random start)";
  report.model_type = config.model_type;
  report.base_parameters = report.trainable_parameters = config.parameter_count();
  report.dtype = "float32";
  report.dtype_reason = "all weights are trained; saved as " + spec.save_dtype;
  report.result_bytes = static_cast<std::uint64_t>(config.parameter_count()) * (spec.save_dtype == "bfloat16" ? 2 : 4);
  report.base_bytes = report.result_bytes;
  run.facts["config.json"] = core::sha256_file(core::FileRef::named(config_file));
  run.facts["tokenizer"] = hash_files(tokenizer->files());
  RunData data = read_run_data(run, spec.data, spec.train, {}, false, *tokenizer, config.max_positions);

  run.carry_chat(*tokenizer, config);

  train::CausalLm::Parts parts;
  parts.save_extra = run.save_carried();
  parts.seed = seed_of(spec.train);
  parts.decoder = models::random_decoder(config, parts.seed, /*trainable=*/true, run.device());
  parts.router_aux_loss =
      router_aux_loss(spec.router_aux_loss.value_or(own_router_loss(config)), *parts.decoder, fields);
  if (!parts.decoder->slot_table().routers.empty())
    report.remarks.emplace_back("routers", parts.router_aux_loss == 0
                                               ? "their load-balancing loss is off (router-aux-loss)"
                                               : fmt::format("their load-balancing loss counts {:g} times",
                                                             parts.router_aux_loss));
  parts.tokenizer = tokenizer.get();
  parts.save_dtype = spec.save_dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
  parts.plan = plan_options(spec.train, spec.data, fields);
  data::weigh(parts.plan, data.train);
  run.share(parts);
  PlanAhead ahead(parts.plan, data.train);
  std::vector<data::Finding> found =
      examine_data(run, data.train, data.evaluation, *tokenizer, config, data::Learns::kAnswers);
  parts.lengths = ahead.lengths();
  parts.recompute = run.choose_recompute(*parts.decoder, parts.plan, parts.lengths);
  tell_health(run, std::move(found), config, spec.train);
  train::TrainOptions options = train_options(spec.train, spec.run, 1e-3);
  fit_evaluation(run, data, spec.train, config.parameter_count(), true, options);
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  parts.whole = std::move(data.whole);
  train::CausalLm objective(std::move(parts));
  run.train(result, objective, options);
  return result;
}

}  // namespace lowrank::recipes
