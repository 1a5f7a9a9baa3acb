#include "lowrank/recipes/spec/settings.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/row_map.h"

namespace lowrank::recipes {

namespace {

std::vector<std::string> split_list(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find(by, begin), text.size());
    std::string part = text.substr(begin, end - begin);
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(' ') + 1);
    if (!part.empty() && std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
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
std::vector<std::int64_t> layer_numbers(const std::string& ranges, const Fields& fields) {
  std::vector<std::int64_t> layers;
  for (const std::string& part : split_list(ranges, ',')) {
    const std::size_t dash = part.find('-', 1);
    const auto number = [&](const std::string& text) {
      std::int64_t n = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
      if (error != std::errc() || end != text.data() + text.size() || n < 0) {
        fields.fail("layers", "expected numbers and ranges such as 8-15 or 0,2,5-7, found '" + part + "'");
      }
      return n;
    };
    const std::int64_t first = number(part.substr(0, dash));
    const std::int64_t last = dash == std::string::npos ? first : number(part.substr(dash + 1));
    if (last < first || last - first > 100000)
      fields.fail("layers", "the range '" + part + "' is empty or far too long");
    for (std::int64_t layer = first; layer <= last; ++layer) layers.push_back(layer);
  }
  if (layers.empty()) fields.fail("layers", "expected numbers and ranges such as 8-15, found nothing");
  return layers;
}

/// "PATTERN=NUMBER" entries.
template <typename Number>
std::vector<std::pair<std::string, Number>> pattern_entries(const std::vector<std::string>& texts, const Fields& fields,
                                                            const std::string& name) {
  std::vector<std::pair<std::string, Number>> entries;
  for (const std::string& text : texts) {
    const std::size_t at = text.rfind('=');
    Number value{};
    const char* end = text.data() + text.size();
    if (at == std::string::npos || at == 0 || std::from_chars(text.data() + at + 1, end, value).ptr != end) {
      fields.fail(name, "expected MODULE=NUMBER, such as q_proj=4, found '" + text + "'");
    }
    const std::string module = text.substr(0, at);
    const auto same = [&](const auto& entry) { return entry.first == module; };
    if (std::any_of(entries.begin(), entries.end(), same))
      fields.fail(name, "names '" + module + "' twice; give it one number");
    entries.emplace_back(module, value);
  }
  return entries;
}

}  // namespace

lora::LoraConfig lora_config(const AdapterSpec& spec, const Fields& fields) {
  lora::LoraConfig config;
  if (spec.rank) config.r = *spec.rank;
  config.lora_alpha = spec.alpha.value_or(2.0 * static_cast<double>(config.r));
  if (spec.dropout) config.lora_dropout = *spec.dropout;
  if (spec.targets) config.target_modules = names_or_regex(*spec.targets);
  if (spec.target_parameters) {
    config.target_parameters = split_list(*spec.target_parameters, ',');
    if (!spec.targets) config.target_modules = std::vector<std::string>{};
  }
  if (spec.exclude) config.exclude_modules = names_or_regex(*spec.exclude);
  if (spec.layers) config.layers_to_transform = layer_numbers(*spec.layers, fields);
  config.use_rslora = spec.rslora;
  config.rank_pattern = pattern_entries<std::int64_t>(spec.rank_pattern, fields, "rank-pattern");
  config.alpha_pattern = pattern_entries<double>(spec.alpha_pattern, fields, "alpha-pattern");
  if (spec.modules_to_save) config.modules_to_save = split_list(*spec.modules_to_save, ',');
  if (spec.bias) config.bias = *spec.bias;
  config.use_dora = spec.dora;
  if (spec.init) config.init_lora_weights = *spec.init;
  if (config.layers_to_transform && std::holds_alternative<std::string>(config.target_modules)) {
    fields.fail("layers", "works with a list of `targets` only; put the layer numbers into the regular expression");
  }
  config.validate_new();
  return config;
}

void refuse_adapter_fields(const Fields& fields) {
  AdapterSpec adapter;
  Spec unused;
  Fields of_adapter(unused);
  describe(of_adapter, adapter);
  for (const FieldInfo& field : of_adapter.info()) {
    if (fields.given(field.name)) fields.fail(field.name, "is for `method` lora");
  }
}

namespace {

// Names are a set: their order says nothing.
std::vector<std::string> in_order(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  return names;
}
using Targets = decltype(lora::LoraConfig::target_modules);
Targets in_order(Targets targets) {
  if (auto* list = std::get_if<std::vector<std::string>>(&targets)) *list = in_order(std::move(*list));
  return targets;
}

}  // namespace

const std::vector<std::string>& brought_by_adapter() {
  static const std::vector<std::string> names = {"rank",    "alpha",           "rslora",       "dora",          "targets",
                                                 "target-parameters", "bias", "modules-to-save", "exclude", "layers",
                                                 "rank-pattern", "alpha-pattern", "init", "add-tokens"};
  return names;
}

void check_against_adapter(const AdapterSpec& spec, const Fields& fields, const lora::LoraConfig& config,
                           const TargetsOf& targets_of) {
  const std::string from = spec.adapter.value_or("the adapter");
  const auto differs = [&](const std::string& name, const std::string& has) {
    fields.fail(name, fmt::format("contradicts the adapter that the run starts from ({} has {}); leave `{}` out", from,
                                  has, name));
  };
  if (spec.rank && *spec.rank != config.r) differs("rank", fmt::format("r = {}", config.r));
  if (spec.alpha && *spec.alpha != config.lora_alpha)
    differs("alpha", fmt::format("lora_alpha = {}", config.lora_alpha));
  if (spec.rslora && !config.use_rslora) differs("rslora", "use_rslora = false");
  if (spec.dora && !config.use_dora) differs("dora", "use_dora = false");
  if (spec.targets && in_order(names_or_regex(*spec.targets)) != in_order(config.target_modules)) {
    lora::LoraConfig asked = config;
    asked.target_modules = names_or_regex(*spec.targets);
    const lora::Match found = targets_of(asked);
    if (!found.unused_targets.empty() || found.modules != targets_of(config).modules)
      differs("targets", "target_modules of its own");
  }
  if (spec.target_parameters && in_order(split_list(*spec.target_parameters, ',')) != in_order(config.target_parameters)) {
    differs("target-parameters", "target_parameters of its own");
  }
  if (spec.bias && *spec.bias != config.bias) differs("bias", fmt::format("bias = {}", config.bias));
  if (spec.modules_to_save && in_order(split_list(*spec.modules_to_save, ',')) != in_order(config.modules_to_save)) {
    differs("modules-to-save", "modules_to_save of its own");
  }
  for (const char* name : {"exclude", "layers", "rank-pattern", "alpha-pattern", "init", "add-tokens"}) {
    if (fields.given(name)) differs(name, "its own");
  }
}

void take_dropout(const AdapterSpec& spec, lora::Adapter& adapter) {
  if (!spec.dropout) return;
  try {
    adapter.set_dropout(*spec.dropout);
  } catch (...) {
    adapter.detach();
    throw;
  }
}

AdapterSpec without_dropout(const AdapterSpec& spec) {
  AdapterSpec result = spec;
  result.dropout = spec.dropout.value_or(0);
  return result;
}

int sequence_length(const DataSpec& spec, const Fields& fields, std::int64_t max_positions) {
  if (!spec.seq_len) return static_cast<int>(std::min<std::int64_t>(1024, max_positions));
  if (*spec.seq_len > max_positions) {
    fields.fail("seq-len", fmt::format("{} is more than the {} positions the model was made for; give {} or less",
                                       *spec.seq_len, max_positions, max_positions));
  }
  return static_cast<int>(*spec.seq_len);
}

data::FileOptions file_options(const std::optional<std::string>& columns, const std::optional<std::string>& layout,
                               data::Part part) {
  return {part, data::RowMap::parse(columns.value_or(""), layout.value_or(""))};
}

namespace {

/// ~/.cache/lowrank/tokens; nothing where there is no home.
std::optional<std::filesystem::path> user_cache() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  if (cache != nullptr && *cache == '/') return std::filesystem::path(cache) / "lowrank" / "tokens";
  if (home == nullptr || *home == '\0') return std::nullopt;
  return std::filesystem::path(home) / ".cache" / "lowrank" / "tokens";
}

/// `token-cache`.
std::optional<data::TokenCachePlace> cache_place(const std::string& asked) {
  constexpr std::uint64_t kFrom = std::uint64_t{64} << 20;  // bytes: what takes seconds to tokenize
  if (asked == "off") return std::nullopt;
  if (asked != "auto") return data::TokenCachePlace{asked, 0};
  const auto folder = user_cache();
  return folder ? std::optional<data::TokenCachePlace>({*folder, kFrom}) : std::nullopt;
}

}  // namespace

data::DataOptions data_options(const DataSpec& spec, const Fields& fields, std::int64_t max_positions) {
  data::DataOptions result;
  result.format = data::parse_format(spec.format);
  result.train_on_prompt = spec.train_on_prompt;
  if (spec.seq_len && *spec.seq_len > max_positions) {
    fields.fail("seq-len",
                fmt::format("{} is more than the model's {} positions (max_position_embeddings); give at most {}",
                            *spec.seq_len, max_positions, max_positions));
  }
  result.seq_len = sequence_length(spec, fields, max_positions);
  result.files = file_options(spec.columns, spec.layout, data::Part::kTrain);
  result.files.temperature = spec.mix_temperature;
  if (spec.token_cache.empty()) fields.fail("token-cache", "expected a folder, auto or off, found nothing");
  result.cache = cache_place(spec.token_cache);
  result.threads = at::get_num_threads();
  return result;
}

std::uint64_t split_seed(const DataSpec& spec, const TrainSpec& training) {
  return static_cast<std::uint64_t>(spec.split_seed.value_or(training.seed));
}

data::PlanOptions plan_options(const TrainSpec& spec, const DataSpec& data, const Fields& fields) {
  data::PlanOptions plan;
  plan.batch_size = static_cast<int>(spec.batch_size);
  if (spec.batch_tokens && fields.given("batch-size")) {
    fields.fail("batch-tokens", "stands instead of `batch-size`; give one of them");
  }
  plan.batch_tokens = spec.batch_tokens;
  plan.grad_accum = static_cast<int>(spec.grad_accum);
  plan.epochs = spec.epochs;
  if (!(plan.epochs > 0)) fields.fail("epochs", fmt::format("expected more than 0, found {}", plan.epochs));
  plan.max_steps = spec.max_steps;
  plan.shuffle = !data.no_shuffle;
  plan.seed = seed_of(spec);
  plan.memory = data::plan_memory();
  return plan;
}

train::TrainOptions train_options(const TrainSpec& spec, const RunSpec& run, double default_lr) {
  train::TrainOptions result;
  result.lr = spec.lr.value_or(default_lr);
  result.lr_auto = spec.lr.automatic;
  result.schedule = train::parse_schedule(spec.schedule);
  result.warmup = spec.warmup;
  result.clip = spec.clip;
  result.weight_decay = spec.weight_decay;
  result.l1 = spec.l1;
  result.l2 = spec.l2;
  result.eval_every = spec.eval_every.value_or(0);
  result.early_stopping = spec.early_stopping.value_or(0);
  result.on_spike = spec.on_spike ? train::parse_on_spike(*spec.on_spike) : train::OnSpike::kIgnore;
  result.save_every = run.save_every.value_or(0);
  result.keep_last = run.keep_last;
  return result;
}

train::TrainOptions train_options(const TrainSpec& spec, const AdapterSpec& adapter, const RunSpec& run,
                                  double default_lr) {
  train::TrainOptions result = train_options(spec, run, default_lr);
  result.lora_plus_ratio = adapter.lora_plus_ratio.value_or(result.lora_plus_ratio);
  return result;
}

void regularise(train::TrainOptions& options, const RegularisationSpec& spec, const Fields& fields) {
  options.delta.l1 = spec.delta_l1;
  options.delta.l2 = spec.delta_l2;
  options.delta.orthogonality = spec.orthogonality;
  options.max_delta_norm = spec.max_delta_norm.value_or(0);
  if (spec.max_delta_norm == 0.0) {
    fields.fail("max-delta-norm", "0 would leave no update at all; give a norm above 0, or leave it out");
  }
  options.ema = spec.ema.value_or(0);
  if (options.ema >= 1) fields.fail("ema", "a decay of 1 would never leave the start; give one below 1, such as 0.99");
  options.min_gain = spec.min_gain.value_or(0);
  if (spec.min_gain && options.early_stopping == 0) {
    fields.fail("min-gain", "says what `early-stopping` counts as a gain; give `early-stopping` too");
  }
}

}  // namespace lowrank::recipes
