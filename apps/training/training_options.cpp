#include "lowrank/apps/training/training_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "lowrank/apps/training/regularisation.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

std::vector<std::string> split_list(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(by, begin), text.size());
    std::string part = text.substr(begin, end - begin);
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(' ') + 1);
    if (!part.empty()) parts.push_back(part);
    begin = end + 1;
  }
  return parts;
}

/// "a,b,c" is a list of names; anything with a regular expression's characters is one expression.
std::variant<std::vector<std::string>, std::string> names_or_regex(const std::string& text) {
  if (text.find_first_of("*+?()[]{}|\\^$") != std::string::npos) return text;
  return split_list(text, ',');
}

/// "8-15", "0,2,5-7" as layer numbers.
std::vector<std::int64_t> layer_numbers(const Options& options) {
  std::vector<std::int64_t> layers;
  for (const std::string& part : split_list(options.text("layers"), ',')) {
    const std::size_t dash = part.find('-', 1);
    const auto number = [&](const std::string& text) {
      std::int64_t n = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
      if (error != std::errc() || end != text.data() + text.size() || n < 0) {
        options.fail("layers", "expected numbers and ranges such as 8-15 or 0,2,5-7, found '" + part + "'");
      }
      return n;
    };
    const std::int64_t first = number(part.substr(0, dash));
    const std::int64_t last = dash == std::string::npos ? first : number(part.substr(dash + 1));
    if (last < first || last - first > 100000)
      options.fail("layers", "the range '" + part + "' is empty or far too long");
    for (std::int64_t layer = first; layer <= last; ++layer) layers.push_back(layer);
  }
  if (layers.empty()) options.fail("layers", "expected numbers and ranges such as 8-15, found nothing");
  return layers;
}

/// "PATTERN=NUMBER" entries.
template <typename Number>
std::vector<std::pair<std::string, Number>> pattern_entries(const Options& options, const std::string& name) {
  std::vector<std::pair<std::string, Number>> entries;
  for (const std::string& text : options.texts(name)) {
    const std::size_t at = text.rfind('=');
    Number value{};
    const char* end = text.data() + text.size();
    if (at == std::string::npos || at == 0 || std::from_chars(text.data() + at + 1, end, value).ptr != end) {
      options.fail(name, "expected MODULE=NUMBER, such as q_proj=4, found '" + text + "'");
    }
    entries.emplace_back(text.substr(0, at), value);
  }
  return entries;
}

}  // namespace

std::vector<OptionSpec> data_options() {
  return {
      {"data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Text files, .jsonl files, or folders of them",
       {},
       true},
      option_format(),
      option_seq_len("Tokens in a piece or example at most (default: 1024, or the model's positions if fewer)"),
      {"val-data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Validation data (best checkpoint, early stopping)",
       {}},
      {"val-split",
       OptionType::kNumber,
       "F",
       0.05,
       "Data",
       "Share of --data kept for validation without --val-data; 0: none",
       {}},
      {"split-seed",
       OptionType::kInt,
       "N",
       nullptr,
       "Data",
       "Seed of what is kept for validation (default: --seed)",
       {}},
      {"general-data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Text of other kinds: what is forgotten is measured on it",
       {}},
      {"train-on-prompt", OptionType::kFlag, "", false, "Data", "Learn the prompts' tokens too", {}},
      {"no-shuffle", OptionType::kFlag, "", false, "Data", "Take the examples in file order", {}},
  };
}

std::vector<OptionSpec> adapter_options() {
  return {
      {"method",
       OptionType::kText,
       "NAME",
       "lora",
       "Adapter",
       "Low-rank adapters, every weight, or (pictures) the classifier alone",
       {"lora", "full", "head"}},
      {"rank", OptionType::kInt, "N", nullptr, "Adapter", "Rank r of the adapters (default: 16)", {}},
      {"alpha",
       OptionType::kNumber,
       "X",
       nullptr,
       "Adapter",
       "lora_alpha; the update is scaled by alpha/r (default: 2*rank)",
       {}},
      {"dropout", OptionType::kNumber, "P", nullptr, "Adapter", "Dropout on the adapters' input (default: 0)", {}},
      {"targets",
       OptionType::kText,
       "LIST",
       nullptr,
       "Adapter",
       "all-linear, names such as q_proj,v_proj,embed_tokens,lm_head, or a regular expression for the whole path "
       "(default: all-linear)",
       {}},
      {"exclude",
       OptionType::kText,
       "LIST",
       nullptr,
       "Adapter",
       "Names or a regular expression of linears to leave out",
       {}},
      {"layers", OptionType::kText, "RANGES", nullptr, "Adapter", "Only these layers: 8-15, or 0,2,5-7", {}},
      {"rslora", OptionType::kFlag, "", false, "Adapter", "Scale by alpha/sqrt(r) (rsLoRA)", {}},
      {"rank-pattern",
       OptionType::kTexts,
       "MODULE=N...",
       nullptr,
       "Adapter",
       "Other ranks for modules, as PEFT's rank_pattern",
       {}},
      {"alpha-pattern",
       OptionType::kTexts,
       "MODULE=X...",
       nullptr,
       "Adapter",
       "Other alphas, as PEFT's alpha_pattern",
       {}},
      {"modules-to-save",
       OptionType::kText,
       "LIST",
       nullptr,
       "Adapter",
       "Modules trained and saved whole: lm_head, embed_tokens, norm …, whatever a path ends with",
       {}},
      {"bias",
       OptionType::kText,
       "WHICH",
       nullptr,
       "Adapter",
       "Biases trained too: those of the targets, or all (default: none)",
       {"none", "lora_only", "all"}},
      {"dora",
       OptionType::kFlag,
       "",
       false,
       "Adapter",
       "DoRA: a trained magnitude for every row of the weight beside A and B",
       {}},
      {"init",
       OptionType::kText,
       "NAME",
       nullptr,
       "Adapter",
       "How A and B start: default, gaussian, orthogonal; pissa, pissa_niter_N (fast), olora: from the weight, saved "
       "at twice the rank "
       "(default: default)",
       {}},
      {"lora-plus-ratio",
       OptionType::kNumber,
       "X",
       nullptr,
       "Adapter",
       "LoRA+: B learns at X times --lr (default: 1; its paper: 16)",
       {}},
      {"adapter",
       OptionType::kText,
       "DIR",
       nullptr,
       "Adapter",
       "Start from this PEFT adapter; it brings rank, alpha and targets",
       {}},
  };
}

std::vector<OptionSpec> training_options(const std::string& lr) {
  return {
      {"epochs", OptionType::kNumber, "N", 3, "Training", "Passes over the data", {}},
      {"max-steps", OptionType::kInt, "N", nullptr, "Training", "Optimiser steps, instead of --epochs", {}},
      {"batch-size", OptionType::kInt, "N", 4, "Training", "Examples (pieces of a text) in a micro-batch", {}},
      {"batch-tokens",
       OptionType::kInt,
       "N",
       nullptr,
       "Training",
       "Instead: fill a micro-batch to this many tokens",
       {}},
      {"grad-accum", OptionType::kInt, "N", 1, "Training", "Micro-batches in an optimiser step", {}},
      {"lr", OptionType::kNumber, "X", nullptr, "Training", "Learning rate (default: " + lr + ")", {}},
      {"schedule",
       OptionType::kText,
       "NAME",
       "cosine",
       "Training",
       "Learning rate over the run",
       {"cosine", "linear", "constant"}},
      {"warmup", OptionType::kNumber, "X", 0.03, "Training", "Warm-up: below 1 a share of the steps, else steps", {}},
      {"clip", OptionType::kNumber, "X", 1.0, "Training", "Largest gradient norm; 0: off", {}},
      {"weight-decay", OptionType::kNumber, "X", 0, "Training", "AdamW's decoupled weight decay", {}},
      {"l1", OptionType::kNumber, "X", 0, "Training", "L1 penalty, as a proximal step: exact zeros appear", {}},
      {"l2", OptionType::kNumber, "X", 0, "Training", "L2 penalty, X/2 times the squared norm", {}},
      {"early-stopping",
       OptionType::kInt,
       "N",
       nullptr,
       "Training",
       "Stop after N evaluations without a better validation loss",
       {}},
      {"eval-every", OptionType::kInt, "N", nullptr, "Training", "Steps between evaluations (default: ten a run)", {}},
      {"seed", OptionType::kInt, "N", 42, "Training", "Seed of everything random", {}},
  };
}

std::vector<OptionSpec> run_options() {
  return {
      option_threads(),
      {"recompute",
       OptionType::kText,
       "WHAT",
       "auto",
       "System",
       "Activation checkpointing: layer halves memory for a third more time; auto: when it would not fit",
       {"auto", "none", "layer"}},
      {"kernels",
       OptionType::kText,
       "KIND",
       "fused",
       "System",
       "Fused ops, or their slow twins made of LibTorch's own",
       {"fused", "composite"}},
      {"out", OptionType::kText, "DIR", nullptr, "Run", "Folder for the result", {}, true},
      {"save-every", OptionType::kInt, "N", nullptr, "Run", "Steps between checkpoints (default: five a run)", {}},
      {"keep-last", OptionType::kInt, "N", 2, "Run", "Checkpoints kept, beside the best", {}},
      {"resume",
       OptionType::kFlag,
       "",
       false,
       "Run",
       "Go on from the newest checkpoint in --out (or start, where there is none)",
       {}},
      {"overwrite", OptionType::kFlag, "", false, "Run", "Replace the run that --out holds", {}},
      {"force", OptionType::kFlag, "", false, "Run", "Resume although options or machine differ (not bit-exact)", {}},
      {"dry-run", OptionType::kFlag, "", false, "Run", "Say what would be done, and stop", {}},
      {"log-every", OptionType::kInt, "N", nullptr, "Run", "Steps between console lines (default: twenty a run)", {}},
      {"tensorboard", OptionType::kFlag, "", false, "Run", "Write an event file for TensorBoard into --out", {}},
      option_quiet(),
      option_json(),
  };
}

lora::LoraConfig lora_config(const Options& options) {
  lora::LoraConfig config;
  if (options.has("rank")) config.r = options.integer_in("rank", 1, 1 << 20);
  config.lora_alpha = options.has("alpha") ? options.number("alpha") : 2.0 * static_cast<double>(config.r);
  if (options.has("dropout")) config.lora_dropout = options.number("dropout");
  if (options.has("targets")) config.target_modules = names_or_regex(options.text("targets"));
  if (options.has("exclude")) config.exclude_modules = names_or_regex(options.text("exclude"));
  if (options.has("layers")) config.layers_to_transform = layer_numbers(options);
  config.use_rslora = options.flag("rslora");
  config.rank_pattern = pattern_entries<std::int64_t>(options, "rank-pattern");
  config.alpha_pattern = pattern_entries<double>(options, "alpha-pattern");
  if (options.has("modules-to-save")) config.modules_to_save = split_list(options.text("modules-to-save"), ',');
  if (options.has("bias")) config.bias = options.text("bias");
  config.use_dora = options.flag("dora");
  if (options.has("init")) config.init_lora_weights = options.text("init");
  if (config.layers_to_transform && std::holds_alternative<std::string>(config.target_modules)) {
    options.fail("layers", "works with a list of --targets only; put the layer numbers into the regular expression");
  }
  config.validate();
  return config;
}

void check_against_adapter(const Options& options, const lora::LoraConfig& config) {
  const std::string from = options.has("adapter") ? options.text("adapter") : "the adapter";
  const auto differs = [&](const std::string& name, const std::string& has) {
    options.fail(name, fmt::format("contradicts the adapter that the run starts from ({} has {}); leave --{} out", from,
                                   has, name));
  };
  if (options.given("rank") && options.integer("rank") != config.r) differs("rank", fmt::format("r = {}", config.r));
  if (options.given("alpha") && options.number("alpha") != config.lora_alpha) {
    differs("alpha", fmt::format("lora_alpha = {}", config.lora_alpha));
  }
  if (options.given("dropout") && options.number("dropout") != config.lora_dropout) {
    differs("dropout", fmt::format("lora_dropout = {}", config.lora_dropout));
  }
  if (options.flag("rslora") && !config.use_rslora) differs("rslora", "use_rslora = false");
  if (options.flag("dora") && !config.use_dora) differs("dora", "use_dora = false");
  if (options.given("targets") && names_or_regex(options.text("targets")) != config.target_modules) {
    differs("targets", "target_modules of its own");
  }
  if (options.given("bias") && options.text("bias") != config.bias)
    differs("bias", fmt::format("bias = {}", config.bias));
  if (options.given("modules-to-save") && split_list(options.text("modules-to-save"), ',') != config.modules_to_save) {
    differs("modules-to-save", "modules_to_save of its own");
  }
  for (const char* name : {"exclude", "layers", "rank-pattern", "alpha-pattern", "init"}) {
    if (options.given(name)) differs(name, "its own");
  }
}

data::DataOptions read_options(const Options& options, std::int64_t max_positions) {
  data::DataOptions result;
  result.format = data::parse_format(options.text("format"));
  result.train_on_prompt = options.flag("train-on-prompt");
  result.seq_len = static_cast<int>(std::min<std::int64_t>(1024, max_positions));
  if (options.has("seq-len")) {
    const std::int64_t wanted = options.integer_in("seq-len", 2, 1 << 24);
    if (wanted > max_positions) {
      options.fail("seq-len",
                   fmt::format("{} is more than the model's {} positions (max_position_embeddings); give at most {}",
                               wanted, max_positions, max_positions));
    }
    result.seq_len = static_cast<int>(wanted);
  }
  return result;
}

std::uint64_t split_seed(const Options& options) {
  return static_cast<std::uint64_t>(options.integer(options.has("split-seed") ? "split-seed" : "seed"));
}

data::PlanOptions plan_options(const Options& options) {
  data::PlanOptions plan;
  plan.batch_size = static_cast<int>(options.integer_in("batch-size", 1, 1 << 20));
  if (options.has("batch-tokens")) {
    if (options.given("batch-size")) options.fail("batch-tokens", "stands instead of --batch-size; give one of them");
    plan.batch_tokens = options.integer_in("batch-tokens", 2, std::int64_t{1} << 32);
  }
  plan.grad_accum = static_cast<int>(options.integer_in("grad-accum", 1, 1 << 20));
  plan.epochs = options.number("epochs");
  if (plan.epochs <= 0) options.fail("epochs", fmt::format("expected more than 0, found {}", plan.epochs));
  if (options.has("max-steps")) plan.max_steps = options.integer_in("max-steps", 1, std::int64_t{1} << 40);
  plan.shuffle = !options.flag("no-shuffle");
  plan.seed = static_cast<std::uint64_t>(options.integer("seed"));
  return plan;
}

train::TrainOptions train_options(const Options& options, double default_lr) {
  train::TrainOptions result;
  result.lr = options.has("lr") ? options.number_in("lr", 0, 1e3) : default_lr;
  result.schedule = train::parse_schedule(options.text("schedule"));
  result.warmup = options.number_in("warmup", 0, 1e12);
  result.clip = options.number_in("clip", 0, 1e12);
  result.weight_decay = options.number_in("weight-decay", 0, 1e3);
  if (options.has("lora-plus-ratio")) result.lora_plus_ratio = options.number_in("lora-plus-ratio", 1e-3, 1e6);
  result.l1 = options.number_in("l1", 0, 1e6);
  result.l2 = options.number_in("l2", 0, 1e6);
  if (options.has("eval-every")) result.eval_every = options.integer_in("eval-every", 1, std::int64_t{1} << 40);
  if (options.has("early-stopping")) result.early_stopping = options.integer_in("early-stopping", 1, 1 << 20);
  if (options.has("save-every")) result.save_every = options.integer_in("save-every", 1, std::int64_t{1} << 40);
  result.keep_last = options.integer_in("keep-last", 1, 1 << 20);
  read_regularisation(options, result);
  return result;
}

const std::vector<std::string>& free_options() {
  static const std::vector<std::string> names = {"out",       "resume",  "overwrite",  "force",     "dry-run",
                                                 "quiet",     "json",    "threads",    "log-every", "save-every",
                                                 "keep-last", "samples", "tensorboard"};
  return names;
}

core::Json run_identity(const Options& options, const core::Json& facts) {
  core::Json identity = core::Json::object();
  const core::Json resolved = options.resolved();
  for (const auto& [name, value] : resolved.items()) {
    const auto& free = free_options();
    // Paths may be written another way: the hashes among the facts stand for what lies there. auto: the choice stands
    // there.
    const bool by_hash = name == "data" || name == "val-data" || name == "general-data" || name == "adapter" ||
                         name == "tokenizer" || name == "config";
    const bool by_choice = name == "dtype" || name == "recompute";
    if (by_hash || by_choice || std::find(free.begin(), free.end(), name) != free.end()) continue;
    identity["--" + name] = value;
  }
  identity.update(facts);
  return identity;
}

}  // namespace lowrank::apps
