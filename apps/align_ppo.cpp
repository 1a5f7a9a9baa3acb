#include <fmt/format.h>

#include <algorithm>

#include "lowrank/apps/align/align_run.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/training/training_run.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/text.h"
#include "lowrank/models/load_classifier.h"
#include "lowrank/train/ppo.h"
#include "lowrank/train/reward_adapter.h"

namespace lowrank::apps {

namespace {

constexpr const char* kValueAdapter = "value";
constexpr const char* kRewardAdapter = "reward";
constexpr const char* kReferenceAdapter = "reference";

train::PpoOptions ppo_options(const Options& options) {
  train::PpoOptions ppo;
  ppo.gamma = options.number_in("gamma", 0, 1);
  ppo.lambda = options.number_in("lam", 0, 1);
  ppo.clip = options.number_in("cliprange", 1e-6, 1e6);
  ppo.value_clip = options.number_in("cliprange-value", 1e-6, 1e6);
  ppo.value_coef = options.number_in("vf-coef", 0, 1e6);
  ppo.kl_coef = options.number_in("kl-coef", 0, 1e6);
  if (options.has("target-kl")) ppo.target_kl = options.number_in("target-kl", 1e-9, 1e9);
  ppo.kl_horizon = options.number_in("kl-horizon", 1, 1e12);
  ppo.missing_eos_penalty = options.number_in("missing-eos-penalty", 0, 1e6);
  ppo.whiten_rewards = options.flag("whiten-rewards");
  return ppo;
}

void read_prompts(const Options& options, AlignRun& run, train::Ppo::Parts& parts) {
  const std::int64_t longest = sequence_length(options, run.model.decoder->config()) - parts.response_length;
  if (longest < 1) {
    options.fail("response-length", fmt::format("{} leaves no room for a prompt within --seq-len {}",
                                                parts.response_length, longest + parts.response_length));
  }
  const auto load = [&](const char* name) {
    return data::load_prompts(options.paths(name), *run.model.tokenizer, longest);
  };
  data::Prompts train = load("data"), held;
  const double share = options.number_in("val-split", 0, 0.9);
  if (options.has("val-data")) {
    held = load("val-data");
    run.report.validation_how = "on the prompts of --val-data";
  } else if (share > 0) {
    held = data::hold_out(train, share, parts.seed);
    run.report.validation_how =
        fmt::format("{} prompts held out, chosen by the seed", core::format_count(held.report.examples));
  } else {
    run.report.validation_how = "none (--val-split 0)";
  }
  run.report.data.push_back({"train", train.report});
  if (!held.prompts.empty()) run.report.data.push_back({"validation", held.report});
  for (const DataUsed& used : run.report.data) run.facts[used.name + " data"] = used.report.sha256;
  parts.prompts = std::move(train.prompts);
  parts.validation = std::move(held.prompts);
}

/// Answers in a rollout: micro-batches of --batch-size, --grad-accum of them a step, --num-mini-batches steps.
data::PlanOptions rollout_plan(const Options& options) {
  data::PlanOptions plan = plan_options(options);
  plan.max_steps.reset();  // it counts optimiser steps, the plan rollouts
  const std::int64_t accumulated = plan.grad_accum * options.integer_in("num-mini-batches", 1, 1 << 16);
  if (accumulated > (1 << 30)) options.fail("num-mini-batches", "times --grad-accum is more than 2^30; lower one");
  plan.grad_accum = static_cast<int>(accumulated);
  return plan;
}

/// adapter:DIR; nothing for another kind of reward.
std::optional<std::filesystem::path> reward_folder(const Options& options) {
  constexpr std::string_view kKind = "adapter:";
  const std::string spec = options.text("reward");
  if (!spec.starts_with(kKind)) return std::nullopt;
  return spec.substr(kKind.size());
}

/// The reward model on the policy's own base.
train::Reward load_reward(const std::filesystem::path& directory, AlignRun& run, core::ProgressObserver& progress) {
  std::vector<std::string> notes;
  auto model = std::make_shared<models::LoadedClassifier>(
      models::load_classifier(run.model.decoder, directory, &notes, kRewardAdapter));
  for (const std::string& note : notes) progress.note(note);
  run.facts["reward adapter"] = core::sha256_file(directory / "adapter_model.safetensors");
  return train::adapter_reward(std::move(model), *run.adapter);
}

int align_ppo(const Options& options) {
  const Console console(options);
  ConsoleProgress progress(console);
  if (options.has("dropout") && options.number("dropout") > 0) {
    options.fail("dropout",
                 "PPO compares the policy with itself, and dropout would be noise in the ratios; leave it out");
  }
  const std::optional<std::filesystem::path> judge = reward_folder(options);
  const double timeout = options.number_in("reward-timeout", 0.001, 1e6);
  train::Reward reward;
  if (judge) {
    require_adapter(*judge, "reward");
  } else {
    reward = train::make_reward(options.text("reward"), timeout);
  }
  std::optional<AlignRun> run = open_align_run(options, console, progress);
  if (!run) return 0;
  if (judge) reward = load_reward(*judge, *run, progress);
  lora::SlotTable slots = run->model.decoder->slot_table();
  lora::LoraConfig config = run->adapter->config();
  config.init_lora_weights = "default";
  lora::Adapter value = lora::attach(slots, config, static_cast<std::uint64_t>(options.integer("seed")), kValueAdapter);

  std::optional<lora::Adapter> reference;
  if (run->start) reference = lora::load_peft(slots, *run->start, nullptr, kReferenceAdapter);

  train::Ppo::Parts parts;
  parts.decoder = run->model.decoder;
  parts.policy = &*run->adapter;
  parts.value = &value;
  parts.reference = reference ? &*reference : nullptr;
  parts.tokenizer = run->model.tokenizer.get();
  parts.weights = &run->model.weights;
  parts.seed = static_cast<std::uint64_t>(options.integer("seed"));
  parts.response_length = options.integer_in("response-length", 1, 1 << 20);
  parts.plan = rollout_plan(options);
  parts.mini_batches = static_cast<int>(options.integer("num-mini-batches"));
  parts.epochs = static_cast<int>(options.integer_in("num-ppo-epochs", 1, 1 << 16));
  if (options.has("max-steps")) parts.max_steps = options.integer_in("max-steps", 1, std::int64_t{1} << 40);
  parts.ppo = ppo_options(options);
  parts.reward = reward;
  if (!options.flag("dry-run")) parts.samples = std::filesystem::path(options.text("out")) / "samples.jsonl";
  read_prompts(options, *run, parts);
  std::vector<std::int64_t> lengths;
  for (const data::Prompt& prompt : parts.prompts) {
    lengths.push_back(static_cast<std::int64_t>(prompt.ids.size()) + parts.response_length);
  }
  parts.recompute =
      choose_recompute(options, run->earlier, run->model.decoder->config(), data::Plan(lengths, parts.plan), lengths,
                       run->model.decoder->dtype(), run->report);
  run->facts["recompute"] = parts.recompute ? "layer" : "none";

  const std::int64_t rollout = std::int64_t{parts.plan.batch_size} * parts.plan.grad_accum;
  run->report.trainable_parameters += value.parameter_count() + run->model.decoder->config().hidden_size;
  run->report.shown_metrics = {"objective/scores", "objective/kl"};
  run->report.remarks.emplace_back("reward", options.text("reward"));
  run->report.remarks.emplace_back(
      "objective",
      fmt::format("PPO: rollouts of {} answers of at most {} tokens, {} epochs of {} mini-batches over each; KL "
                  "coefficient {}{}",
                  core::format_count(rollout), parts.response_length, parts.epochs, parts.mini_batches,
                  parts.ppo.kl_coef,
                  parts.ppo.target_kl > 0 ? fmt::format(", adapted to a KL of {}", parts.ppo.target_kl) : ""));
  run->report.remarks.emplace_back(
      "reference", std::string(reference ? "the adapter that the run starts from" : "the base with the adapters off") +
                       "; the value model is a second adapter and a head on the same weights");
  train::Ppo objective(std::move(parts));
  return train_and_report(options, console, objective, run->report, train_options(options, 5e-5), run->facts).exit_code;
}

}  // namespace

Verb align_ppo_verb() {
  Verb verb;
  verb.name = "align ppo";
  verb.summary = "Learn from rewards of the model's own answers (PPO); writes a PEFT adapter";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank align ppo models/SmolLM2-135M --data prompts.jsonl --reward exec:./judge.py --out runs/ppo";
  verb.options = align_options(
      {
          {"data",
           OptionType::kTexts,
           "PATH...",
           nullptr,
           "Data",
           "Prompts: text files, one a line, or .jsonl/.json rows {\"prompt\"} and, for exact, {\"answer\"}",
           {},
           true},
          option_seq_len(
              "Tokens of a prompt and its answer at most (default: 1024, or the model's positions if fewer)"),
          {"val-data",
           OptionType::kTexts,
           "PATH...",
           nullptr,
           "Data",
           "Held-out prompts (best checkpoint, early stopping)",
           {}},
          {"val-split",
           OptionType::kNumber,
           "F",
           0.05,
           "Data",
           "Share of --data held out without --val-data; 0: none",
           {}},
          {"no-shuffle", OptionType::kFlag, "", false, "Data", "Take the prompts in file order", {}},
          {"reward",
           OptionType::kText,
           "WHAT",
           nullptr,
           "Rewards",
           "adapter:DIR (of align reward), length:N (tokens), regex:RE, words:FILE, exact, or exec:COMMAND (JSON "
           "lines: prompt and response in, score out)",
           {},
           true},
          {"reward-timeout", OptionType::kNumber, "S", 30, "Rewards", "Seconds that exec: has for a score", {}},
          {"missing-eos-penalty",
           OptionType::kNumber,
           "X",
           0,
           "Rewards",
           "Taken from the score of an answer without end token",
           {}},
          {"whiten-rewards",
           OptionType::kFlag,
           "",
           false,
           "Rewards",
           "Scale the rewards of a rollout to unit variance",
           {}},
          {"response-length", OptionType::kInt, "N", 53, "PPO", "Tokens of an answer at most", {}},
          {"num-ppo-epochs", OptionType::kInt, "N", 4, "PPO", "Passes over each rollout", {}},
          {"num-mini-batches",
           OptionType::kInt,
           "N",
           2,
           "PPO",
           "Optimiser steps a pass; a rollout has batch-size * grad-accum * this many answers",
           {}},
          {"kl-coef", OptionType::kNumber, "X", 0.05, "PPO", "Weight of the KL from the reference in the rewards", {}},
          {"target-kl",
           OptionType::kNumber,
           "X",
           nullptr,
           "PPO",
           "Adapt that weight so that the KL of an answer stays near this",
           {}},
          {"kl-horizon", OptionType::kNumber, "N", 10000, "PPO", "Answers over which --target-kl adapts", {}},
          {"gamma", OptionType::kNumber, "X", 1, "PPO", "Discount a token", {}},
          {"lam", OptionType::kNumber, "X", 0.95, "PPO", "Lambda of the generalised advantage estimation", {}},
          {"cliprange", OptionType::kNumber, "X", 0.2, "PPO", "Clip of the policy's ratio", {}},
          {"cliprange-value", OptionType::kNumber, "X", 0.2, "PPO", "Clip of the value's move", {}},
          {"vf-coef", OptionType::kNumber, "X", 0.1, "PPO", "Weight of the value loss", {}},
      },
      "5e-5");
  std::erase_if(verb.options, [](const OptionSpec& option) { return option.name == "batch-tokens"; });
  for (OptionSpec& option : verb.options) {
    if (option.name == "batch-size") {
      option.fallback = 16;
      option.help = "Answers in a micro-batch";
    }
  }
  verb.run = align_ppo;
  return verb;
}

}  // namespace lowrank::apps
