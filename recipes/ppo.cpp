#include "lowrank/recipes/ppo.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/models/description.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/run/health.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/training_run.h"
#include "lowrank/train/ppo.h"
#include "lowrank/train/reward_adapter.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

constexpr const char* kValueAdapter = "value";
constexpr const char* kRewardAdapter = "reward";
constexpr const char* kReferenceAdapter = "reference";
constexpr std::int64_t kMostMicroBatches = 1 << 20;  // of a rollout

train::PpoOptions ppo_options(const PpoSpec& spec) {
  train::PpoOptions ppo;
  ppo.gamma = spec.gamma;
  ppo.lambda = spec.lam;
  ppo.clip = spec.cliprange;
  ppo.value_clip = spec.cliprange_value;
  ppo.value_coef = spec.vf_coef;
  ppo.kl_coef = spec.kl_coef;
  if (spec.target_kl) ppo.target_kl = *spec.target_kl;
  ppo.kl_horizon = spec.kl_horizon;
  ppo.missing_eos_penalty = spec.missing_eos_penalty;
  ppo.whiten_rewards = spec.whiten_rewards;
  return ppo;
}

void read_prompts(TrainingRun& run, const PpoSpec& spec, const models::LoadedModel& model, train::Ppo::Parts& parts) {
  const std::int64_t longest =
      sequence_length(spec.data, run.fields, model.decoder->config().max_positions) - parts.response_length;
  if (longest < 1) {
    run.fields.fail("response-length", fmt::format("{} leaves no room for a prompt within `seq-len` {}",
                                                   parts.response_length, longest + parts.response_length));
  }
  if (spec.data.data.empty() && !spec.prompt_source) run.fields.fail("data", "is missing; name files of prompts");
  const auto layout = run.chat_layout(spec.data.chat, *model.tokenizer);
  const auto load = [&](const std::vector<fs::path>& paths, const PromptSource& source, data::Part part) {
    return source ? source(*model.tokenizer, longest)
                  : data::load_prompts(paths, *model.tokenizer, longest, layout,
                                       file_options(spec.data.columns, {}, part));
  };
  data::Prompts train = load(paths_of(spec.data.data), spec.prompt_source, data::Part::kTrain), held;
  std::string how;
  ValidationPaths held_paths;
  if (!spec.prompt_source && !spec.validation_source) held_paths = validation_paths(run.fields, spec.data);
  if (!held_paths.paths.empty() || spec.validation_source) {
    held = load(held_paths.paths, spec.validation_source, data::Part::kValidation);
    how = spec.validation_source || !spec.data.val_data.empty() ? "on the prompts of `val-data`" : held_paths.how;
  } else if (spec.data.val_split > 0) {
    held = data::hold_out(train, spec.data.val_split, parts.seed);
    how = fmt::format("{} prompts held out, chosen by the seed", core::format_count(held.report.examples));
  } else {
    how = "none (`val-split` 0)";
  }
  run.report.validation_how = run.spelled(how);
  run.used("train", train.report);
  if (!held.prompts.empty()) run.used("validation", held.report);
  run.carry_chat(*model.tokenizer, model.decoder->config());
  parts.save_extra = run.save_carried();
  parts.end_ids = run.turn_ends;
  parts.prompts = std::move(train.prompts);
  parts.validation = std::move(held.prompts);
}

/// Answers in a rollout: micro-batches of batch_size, grad_accum of them a step, num_mini_batches steps.
data::PlanOptions rollout_plan(const PpoSpec& spec, const Fields& fields) {
  data::PlanOptions plan = plan_options(spec.train, spec.data, fields);
  plan.max_steps.reset();  // it counts optimiser steps, the plan rollouts
  const std::int64_t micro_batches = spec.train.grad_accum * spec.num_mini_batches;  // at most 2^36
  if (micro_batches > kMostMicroBatches) {
    fields.fail("num-mini-batches",
                fmt::format("{} times `grad-accum` {} are {} micro-batches in a rollout; expected {} at most",
                            spec.num_mini_batches, spec.train.grad_accum, core::format_count(micro_batches),
                            core::format_count(kMostMicroBatches)));
  }
  plan.grad_accum = static_cast<int>(micro_batches);
  return plan;
}

/// What follows "KIND:" in `reward`; nothing for another kind.
std::optional<fs::path> reward_path(const PpoSpec& spec, std::string_view kind) {
  if (spec.reward_function || !spec.reward.starts_with(kind)) return std::nullopt;
  return spec.reward.substr(kind.size());
}

/// The reward model on the policy's own base.
train::Reward load_reward(TrainingRun& run, const fs::path& directory, const models::LoadedModel& model,
                          lora::Adapter& policy) {
  std::vector<std::string> notes;
  auto loaded = std::make_shared<models::LoadedClassifier>(
      models::load_classifier(model.decoder, directory, &notes, kRewardAdapter));
  for (const std::string& note : notes) run.observer.note(note);
  run.facts["reward adapter"] = core::sha256_file(directory / "adapter_model.safetensors");
  return train::adapter_reward(std::move(loaded), policy);
}

void check_before_reading(const PpoSpec& spec, const Fields& fields) {
  if (spec.adapter.dropout && *spec.adapter.dropout > 0) {
    fields.fail("dropout",
                "PPO compares the policy with itself, and dropout would be noise in the ratios; leave it out");
  }
  if (spec.reward.empty()) fields.fail("reward", "is missing; name a reward, or a reward_function's name");
  rollout_plan(spec, fields);
}

}  // namespace

PromptSource prompts(std::vector<std::string> texts) {
  return [texts = std::move(texts)](const data::Tokenizer& tokenizer, std::int64_t longest) {
    data::Prompts result;
    result.report.format = "memory";
    std::string all;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      data::Prompt prompt;
      prompt.text = texts[i];
      prompt.where = fmt::format("text {}", i);
      prompt.ids = tokenizer.encode_prompt(prompt.text);
      all += texts[i] + "\n";
      if (static_cast<std::int64_t>(prompt.ids.size()) > longest) {
        ++result.report.truncated;
        continue;
      }
      result.report.tokens += static_cast<std::int64_t>(prompt.ids.size());
      result.prompts.push_back(std::move(prompt));
    }
    result.report.sha256 = core::sha256(all);
    result.report.documents = result.report.examples = static_cast<std::int64_t>(result.prompts.size());
    if (result.prompts.empty()) throw DataError(fmt::format("no prompt of at most {} tokens is left", longest));
    return result;
  };
}

void describe(Fields& t, PpoSpec& s) {
  DataWords words;
  words.data = "Prompts: text files, one a line, or .jsonl/.json rows {\"prompt\"} and, for exact, {\"answer\"}";
  words.seq_len = "Tokens of a prompt and its answer at most (default: 1024, or the model's positions if fewer)";
  words.val_data = "Held-out prompts (best checkpoint, early stopping)";
  words.val_split = "Share of `data` held out without `val-data`; 0: none";
  words.no_shuffle = "Take the prompts in file order";
  describe_data(t, s.data, words);
  describe(t, s.data.chat, false);
  t.group("Rewards");
  t.add("reward", &s.reward, "WHAT",
        "adapter:DIR (of align reward), length:N (tokens), regex:RE, words:FILE, exact, or exec:COMMAND (JSON "
        "lines: prompt and response in, score out)",
        {.required = true});
  t.add("reward-timeout", &s.reward_timeout, "S", "Seconds that exec: has for a score", {.range = {{0.001, 1e6}}});
  t.add("reward-env", &s.reward_env, "NAME...",
        "Variables of the environment that exec: gets beside PATH, HOME, LANG and TMPDIR");
  t.add("missing-eos-penalty", &s.missing_eos_penalty, "X", "Taken from the score of an answer without end token",
        {.range = {{0, 1e6}}});
  t.add("whiten-rewards", &s.whiten_rewards, "", "Scale the rewards of a rollout to unit variance");
  t.group("PPO");
  t.add("response-length", &s.response_length, "N", "Tokens of an answer at most", {.range = {{1, 1 << 20}}});
  t.add("num-ppo-epochs", &s.num_ppo_epochs, "N", "Passes over each rollout", {.range = {{1, 1 << 16}}});
  t.add("num-mini-batches", &s.num_mini_batches, "N",
        "Optimiser steps a pass; a rollout has batch-size * grad-accum * this many answers", {.range = {{1, 1 << 16}}});
  t.add("kl-coef", &s.kl_coef, "X", "Weight of the KL from the reference in the rewards", {.range = {{0, 1e6}}});
  t.add("target-kl", &s.target_kl, "X", "Adapt that weight so that the KL of an answer stays near this",
        {.range = {{1e-9, 1e9}}});
  t.add("kl-horizon", &s.kl_horizon, "N", "Answers over which `target-kl` adapts", {.range = {{1, 1e12}}});
  t.add("gamma", &s.gamma, "X", "Discount a token", {.range = {{0, 1}}});
  t.add("lam", &s.lam, "X", "Lambda of the generalised advantage estimation", {.range = {{0, 1}}});
  t.add("cliprange", &s.cliprange, "X", "Clip of the policy's ratio", {.range = {{1e-6, 1e6}}});
  t.add("cliprange-value", &s.cliprange_value, "X", "Clip of the value's move", {.range = {{1e-6, 1e6}}});
  t.add("vf-coef", &s.vf_coef, "X", "Weight of the value loss", {.range = {{0, 1e6}}});
  describe(t, s.adapter);
  describe(t, s.train, {.lr = "5e-5", .batch_size = "Answers in a micro-batch", .lr_auto = false});
  t.remove("batch-tokens");
  t.remove("eval-budget");
  describe_dtype(t, s.run);
  describe(t, s.run);
}

ModelResult ppo(const PpoSpec& asked, Observer& observer) {
  PpoSpec spec = asked;
  const Fields fields = fields_of(spec);
  if (spec.train.lr.automatic)
    fields.fail("lr", "auto tries rates on a batch of the data, and here the model makes its own; give a number");
  ModelResult result;
  TrainingRun run("align ppo", spec.model, fields, spec.run, observer);
  check_before_reading(spec, fields);
  std::optional<fs::path> judge = reward_path(spec, "adapter:");
  const std::optional<fs::path> words = reward_path(spec, "words:");
  train::Reward reward = spec.reward_function;
  if (judge) {
    judge = adapter_folder(*judge, "reward");
  } else if (!reward) {
    reward = train::make_reward(spec.reward, spec.reward_timeout, spec.reward_env);
  }
  run.resolve(spec.adapter);
  std::vector<fs::path> inputs;
  for (const std::optional<fs::path>& input : {judge, words, std::optional(run.resolved.model), run.start})
    if (input) inputs.push_back(*input);
  if (!run.open(result, inputs)) return result;
  const auto base = std::make_shared<SharedBase>(false);
  models::LoadedModel& model = run.load(*base);
  Attached attached(base);
  lora::SlotTable slots = model.decoder->slot_table();
  slots.base_name = run.resolved.base_name;
  lora::Adapter& policy = attached.put(run.make_adapter(without_dropout(spec.adapter), slots, seed_of(spec.train)));
  run.take(policy);
  if (judge) reward = load_reward(run, *judge, model, policy);
  // A checkpoint of a version whose runs did not know their words is gone on with all the same.
  if (words && (run.earlier.empty() || run.earlier.contains("reward words")))
    run.facts["reward words"] = core::sha256_file(core::FileRef::named(*words));
  lora::LoraConfig config = policy.config();
  config.init_lora_weights = "default";
  lora::Adapter value = lora::attach(model.decoder->slot_table(), config, seed_of(spec.train), kValueAdapter);
  std::optional<lora::Adapter> reference;  // the adapter as it was where the run starts from one
  if (run.start)
    reference = lora::load_peft(model.decoder->slot_table(), *run.start, nullptr, kReferenceAdapter);
  else if (run.report.loftq)  // whose beginning is nearer the base than its codes
    reference = lora::attach(model.decoder->slot_table(), policy.config(), seed_of(spec.train), kReferenceAdapter);

  train::Ppo::Parts parts;
  parts.decoder = model.decoder;
  parts.policy = &policy;
  parts.value = &value;
  parts.reference = reference ? &*reference : nullptr;
  parts.tokenizer = model.tokenizer.get();
  parts.weights = &model.weights;
  parts.seed = seed_of(spec.train);
  parts.response_length = spec.response_length;
  parts.plan = rollout_plan(spec, fields);
  run.share(parts);
  parts.mini_batches = static_cast<int>(spec.num_mini_batches);
  parts.epochs = static_cast<int>(spec.num_ppo_epochs);
  parts.max_steps = spec.train.max_steps;
  parts.ppo = ppo_options(spec);
  parts.reward = reward;
  if (!spec.run.dry_run) parts.samples = fs::path(spec.run.out) / "samples.jsonl";
  read_prompts(run, spec, model, parts);
  std::vector<std::int64_t> lengths;
  for (const data::Prompt& prompt : parts.prompts) {
    lengths.push_back(static_cast<std::int64_t>(prompt.ids.size()) + parts.response_length);
  }
  data::PlanOptions micro_batches = parts.plan;  // a rollout's cut is its own
  // In a pass one of them is on, and each keeps as much.
  value.set_enabled(false);
  if (reference) reference->set_enabled(false);
  parts.recompute = run.choose_recompute(*model.decoder, micro_batches, lengths);
  value.set_enabled(true);
  if (reference) reference->set_enabled(true);
  if (micro_batches.batch_size != parts.plan.batch_size)
    fields.fail("batch-size", fmt::format("{} answers do not fit into memory, and PPO's rollouts are not cut by `fit`; "
                                          "give {} with `grad-accum` {}",
                                          parts.plan.batch_size, micro_batches.batch_size,
                                          spec.train.grad_accum * (parts.plan.batch_size / micro_batches.batch_size)));
  run.planned_steps *= std::int64_t{parts.epochs} * parts.mini_batches;  // of rollouts
  if (parts.max_steps) run.planned_steps = std::min(run.planned_steps, *parts.max_steps);
  check_health(run, {}, {}, *model.tokenizer, model.decoder->config(), spec.train, data::Learns::kNothing);

  const std::int64_t rollout = std::int64_t{parts.plan.batch_size} * parts.plan.grad_accum *
                               (parts.plan.batch_ranks > 0 ? parts.plan.batch_ranks : parts.plan.ranks);
  RunReport& report = run.report;
  report.trainable_parameters += value.parameter_count() + models::state_width(model.decoder->config());
  report.shown_metrics = {"objective/scores", "objective/kl"};
  report.lr_auto = false;
  report.remarks.emplace_back("reward", spec.reward);
  report.remarks.emplace_back(
      "objective",
      fmt::format("PPO: rollouts of {} of at most {}, {} of {} over each; KL "
                  "coefficient {}{}",
                  core::counted(rollout, "answer"), core::counted(parts.response_length, "token"), core::counted(parts.epochs, "epoch"),
                  parts.mini_batches == 1 ? "1 mini-batch" : fmt::format("{} mini-batches", parts.mini_batches),
                  parts.ppo.kl_coef,
                  parts.ppo.target_kl > 0 ? fmt::format(", adapted to a KL of {}", parts.ppo.target_kl) : ""));
  report.remarks.emplace_back(
      "reference", std::string(run.start ? "the adapter that the run starts from" : reference ? "the base with the adapters as they begin" : "the base with the adapters off") +
                       "; the value model is a second adapter and a head on the same weights");
  train::Ppo objective(std::move(parts));
  run.train(result, objective, train_options(spec.train, spec.adapter, spec.run, 5e-5));
  value.detach();
  if (reference) reference->detach();
  attached.hand_over(result);
  return result;
}

}  // namespace lowrank::recipes
