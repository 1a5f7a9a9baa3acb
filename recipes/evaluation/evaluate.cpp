#include "lowrank/recipes/evaluation/evaluate.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/shots.h"
#include "lowrank/lora/delta_scale.h"
#include "lowrank/lora/mlx_adapter.h"
#include "lowrank/recipes/evaluation/named_paths.h"
#include "lowrank/recipes/run/chat_files.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/recipes/run/run_data.h"
#include "lowrank/recipes/run/shared_base.h"
#include "lowrank/recipes/run/shares.h"
#include "lowrank/recipes/spec/settings.h"
#include "lowrank/train/sequences.h"

namespace lowrank::recipes {

namespace {

using core::Json;
constexpr std::uint64_t kShotsSeed = 42;
constexpr int kScales = 8;

/// The batches of one process, dealt to the ranks: each has the same numbers for any number of them.
eval::Perplexity perplexity_of(const EvaluateSpec& spec, models::DecoderImpl& decoder, const data::Dataset& set,
                               bool per_token, Observer& observer) {
  train::GradSync& sync = train::or_alone(observer.ranks());
  if (sync.ranks() == 1) return eval::perplexity(decoder, set, spec.batch_tokens, per_token, &observer);
  std::vector<double> own;
  train::together(sync, [&] {
    const train::Share share = train::share_of(set.examples, spec.batch_tokens, sync);
    const core::ProgressScope scope(&observer, "evaluating", static_cast<std::int64_t>(share.last - share.first),
                                    "examples");
    for (const std::vector<double>& one :
         train::token_logps(decoder, set.examples, share, spec.batch_tokens, &observer, set.storage))
      for (const double logp : one) own.push_back(-logp);
  });
  eval::Perplexity result;
  result.per_token = train::gather(sync, own);
  if (result.per_token.empty())
    throw DataError("there is nothing to evaluate: no token is predicted in the data set");
  result.tokens = static_cast<std::int64_t>(result.per_token.size());
  result.nll = std::accumulate(result.per_token.begin(), result.per_token.end(), 0.0) /
               static_cast<double>(result.tokens);
  if (!per_token) result.per_token.clear();
  return result;
}

eval::Perplexity measure(const EvaluateSpec& spec, models::DecoderImpl& decoder, const EvaluatedSet& set,
                         Observer& observer) {
  const eval::Perplexity result = perplexity_of(spec, decoder, set.data, spec.per_token, observer);
  if (!std::isfinite(result.nll)) {
    throw ModelError(
        fmt::format("{}: the loss is not a finite number, so the model or the adapter holds NaN or overflows; "
                    "try `dtype` float32, and `lowrank inspect` on both",
                    set.name));
  }
  return result;
}

Json to_json(const eval::Perplexity& p, bool per_token) {
  Json json = {{"tokens", p.tokens}, {"nll", p.nll}, {"perplexity", p.perplexity()}};
  if (per_token) json["per_token"] = p.per_token;
  return json;
}

Json to_json(const EvaluatedSet& set, bool per_token) {
  if (!set.adapter) return to_json(set.base, per_token);
  Json json = to_json(*set.adapter, per_token);
  json["base"] = to_json(set.base, per_token);
  return json;
}

/// What was read and left out, where there is something to say.
std::string reading_text(const EvaluatedSet& set) {
  const data::ReadReport& report = set.data.report;
  std::string text =
      fmt::format("{}, {}, {}, {} of them counted", report.format, core::counted(report.documents, "document"),
                  core::counted(report.tokens, "token"), core::format_count(report.learned_tokens));
  const auto add = [&](std::int64_t n, const char* what) {
    if (n > 0) text += fmt::format(", {} {}", core::format_count(n), what);
  };
  add(report.truncated, "rows cut to `seq-len`");
  add(report.empty, "blank dropped");
  add(report.all_masked, "with nothing to learn dropped");
  add(report.duplicates, "seen before");
  add(report.replaced_bytes, "invalid bytes read as U+FFFD");
  return text;
}

/// `shots` examples of `shots_data` go before each one of the sets. The number of tokens shown.
std::int64_t show_shots(const EvaluateSpec& spec, const Fields& fields, std::vector<EvaluatedSet>& sets, Opened& opened,
                        const data::DataOptions& reading, Observer& observer) {
  if (spec.shots.has_value() == spec.shots_data.empty()) {
    fields.fail(spec.shots ? "shots" : "shots-data", "`shots` K and `shots-data` PATH go together; give both");
  }
  if (!spec.shots) return 0;
  data::DataOptions shown = reading;
  shown.files.part = data::Part::kTrain;
  const data::Dataset pool = data::load(paths_of(spec.shots_data), opened.tokenizer(), shown, &observer);
  std::int64_t tokens = 0, cut = 0;
  for (EvaluatedSet& set : sets) {
    data::Prompted prompted = data::with_shots(set.data, pool, static_cast<int>(*spec.shots),
                                               opened.decoder().config().max_positions, kShotsSeed);
    set.data = std::move(prompted.data);
    tokens += prompted.context_tokens;
    cut += prompted.cut;
  }
  if (cut > 0) {
    observer.warning(
        fmt::format("{} had no room for all {} shots, whose beginning was cut; a smaller `seq-len` makes "
                    "shorter pieces",
                    core::counted(cut, "example"), *spec.shots));
  }
  return tokens;
}

/// Every set at the scales 0, 1/8 … 1 of ΔW.
std::vector<FrontierPoint> frontier_of(const std::vector<EvaluatedSet>& sets, Opened& opened, std::int64_t batch_tokens,
                                       Observer& observer) {
  std::vector<FrontierPoint> points;
  lora::DeltaScale scale(*opened.adapter);
  observer.begin("scaling the update", kScales - 1, "scales");
  for (int k = 0; k <= kScales; ++k) {
    FrontierPoint point{static_cast<double>(k) / kScales, {}};
    scale.set(point.scale);
    for (const EvaluatedSet& set : sets) {
      point.nll.push_back(k == 0         ? set.base.nll
                          : k == kScales ? set.adapter->nll
                                         : eval::perplexity(opened.decoder(), set.data, batch_tokens).nll);
    }
    points.push_back(std::move(point));
    observer.advance(k);
  }
  observer.end();
  return points;
}

Json to_json(const std::vector<FrontierPoint>& points, const std::vector<EvaluatedSet>& sets) {
  Json list = Json::array();
  for (const FrontierPoint& point : points) {
    Json found = Json::object();
    for (std::size_t i = 0; i < sets.size(); ++i)
      found[sets[i].name] = {{"nll", point.nll[i]}, {"perplexity", std::exp(point.nll[i])}};
    list.push_back({{"scale", point.scale}, {"sets", found}});
  }
  return list;
}

}  // namespace

void describe(Fields& t, EvaluateSpec& s) {
  t.group("Data");
  t.add("data", &s.data, "[NAME=]PATH...", "Files or folders; equal names are one set");
  t.add("task", &s.task, "NAME", "Accuracy, macro F1, Matthews and confusion of labelled texts or pictures",
        {.choices = {"classification", "image-classification"}});
  t.add("format", &s.format, "NAME", "What the rows are", {.choices = format_field().choices});
  describe_columns(t, s.columns);
  describe_layout(t, s.layout);
  t.add("seq-len", &s.seq_len, "N", "Tokens a piece or row has at most [min(1024, the model's positions)]",
        {.range = {{2, 1 << 24}}});
  t.add("train-on-prompt", &s.train_on_prompt, "", "Count the prompts' tokens too");
  describe(t, s.chat);
  t.group("System");
  t.add("batch-tokens", &s.batch_tokens, "N", "Tokens computed at a time", {.range = {{1, 1 << 24}}});
  t.group("Data");
  t.add("shots", &s.shots, "K", "Show K of `shots-data` before each example (not counted)", {.range = {{1, 1000}}});
  t.add("shots-data", &s.shots_data, "PATH...", "Documents or examples for `shots`, the training data say");
  t.group("Output");
  t.add("frontier", &s.frontier, "", "Also at the scales 0, 1/8 ... 1 of the adapter's update");
  t.add("per-token", &s.per_token, "", "With `json`: the loss of every counted token");
  t.group("Adapter");
  t.add("adapter", &s.adapter, "DIR", "A PEFT adapter directory");
  t.group("System");
  const FieldInfo dtype = dtype_field(), base = base_dtype_field(), shards = shard_base_field(), device = device_field(),
                  threads = threads_field();
  t.add(dtype.name, &s.dtype, dtype.value, dtype.help, {.choices = dtype.choices});
  t.add(base.name, &s.base_dtype, base.value, base.help, {.choices = base.choices});
  t.add(shards.name, &s.shard_base, shards.value, shards.help, {.choices = shards.choices});
  t.add(device.name, &s.device, device.value, device.help);
  t.add(threads.name, &s.threads, threads.value, threads.help, {.range = threads.range});
  t.group("Comparison");
  t.add("compare", &s.compare, "NAME=DIR...", "Adapters, or whole models of the same tokenizer, beside MODEL");
  t.add("questions", &s.questions, "NAME=PATH...",
        "Rows of question, choices and answer; of question and answer; or of prompt and reference");
  t.add("extract", &s.extract, "REGEX", "What of an answer is compared: the first group, such as '#### (.+)'");
  t.add("max-new-tokens", &s.max_new_tokens, "N", "Tokens that are generated for an answer at most",
        {.range = {{1, 1 << 20}}});
  t.add("perturb", &s.perturb, "KIND...",
        "Perturbed copies beside every set: typos, case, ocr, each with a rate if wished (typos:0.05)");
  t.group("Output");
  t.add("out", &s.out, "DIR", "Folder for report.html and comparison.json");
  t.group("Comparison");
  t.add("seed", &s.seed, "N", "Seed of the resamples and the perturbations");
}

models::LoadOptions loading_of(const EvaluateSpec& spec, const Fields& fields, Observer& observer, Rows& remarks) {
  train::GradSync& sync = train::or_alone(observer.ranks());
  models::LoadOptions load;
  load.dtype = dtype_choice(spec.dtype);
  load.form = base_form(spec.base_dtype);
  load.device = device_of(spec.device, sync.local_rank());
  check_shares(fields, spec.shard_base, spec.base_dtype, load.device, sync);
  load.shares = shares_among(sync, spec.shard_base, remarks);
  return load;
}

void require_same(train::GradSync& sync, const models::LoadedModel& model, const std::filesystem::path& adapter,
                  const std::vector<std::pair<std::string, const data::ReadReport*>>& data, Observer& observer) {
  if (sync.ranks() == 1) return;
  Json facts = {{"adapter's weights", nullptr}};
  train::together(sync, [&] {
    std::vector<std::filesystem::path> files;
    for (const auto& file : model.weights.files()) files.push_back(file->path());
    facts["base model's weights"] = model.coded.sha256.empty() ? hash_files(files, &observer) : model.coded.sha256;
    if (!adapter.empty()) facts["adapter's weights"] = core::sha256_file(lora::adapter_weights(adapter));
    for (const auto& [name, report] : data) {
      facts[name + " data"] = report->sha256;
      facts["learned tokens of " + name] = report->learned_tokens;
    }
  });
  train::require_equal(sync, facts);
}

kernels::Runtime begin(const EvaluateSpec& spec, const Fields& fields) {
  fields.check();
  kernels::Runtime runtime = kernels::runtime();
  if (spec.threads) runtime.threads = static_cast<std::int32_t>(*spec.threads);
  return runtime;
}

data::DataOptions reading_of(const EvaluateSpec& spec, const Fields& fields, const models::LoadedModel& model,
                             const std::filesystem::path& adapter) {
  DataSpec data;
  data.seq_len = spec.seq_len;
  data::DataOptions reading;
  reading.format = data::parse_format(spec.format);
  reading.seq_len = sequence_length(data, fields, model.decoder->config().max_positions);
  reading.train_on_prompt = spec.train_on_prompt;
  reading.chat =
      chat_layout(spec.chat, *model.tokenizer, model.path, adapter.empty() ? std::nullopt : std::optional(adapter));
  reading.files = file_options(spec.columns, spec.layout, data::Part::kTest);
  return reading;
}

EvaluateResult evaluate(const EvaluateSpec& asked, EvaluationObserver& observer) {
  EvaluateSpec spec = asked;
  const Fields fields = fields_of(spec);
  const kernels::RuntimeScope runtime(begin(spec, fields));
  EvaluateResult result;
  std::vector<EvaluatedSet>& sets = result.sets;
  const std::vector<NamedPaths> named = named_paths("data", spec.data);
  train::GradSync& sync = train::or_alone(observer.ranks());
  Rows remarks;
  const models::LoadOptions loading = loading_of(spec, fields, observer, remarks);
  Opened opened = open_model(spec.model, adapter_of(spec.model, spec.adapter), loading, observer);
  const data::DataOptions reading = reading_of(spec, fields, opened.model, opened.adapter_path);
  for (const NamedPaths& one : named)
    sets.push_back({one.name, one.named, data::load(one.paths, opened.tokenizer(), reading, &observer), {}, {}});
  std::vector<std::pair<std::string, const data::ReadReport*>> read;
  for (const EvaluatedSet& set : sets) read.emplace_back(set.name, &set.data.report);
  require_same(sync, opened.model, opened.adapter_path, read, observer);
  const std::int64_t context = show_shots(spec, fields, sets, opened, reading, observer);
  if (spec.frontier && !opened.adapter) fields.fail("frontier", "scales an adapter's update; give `adapter`");
  Rows facts = describe(opened);
  if (opened.model.shares != nullptr) facts.push_back(describe(*opened.model.shares, sync));
  facts.insert(facts.end(), remarks.begin(), remarks.end());
  if (spec.shots) {
    facts.emplace_back("shots", fmt::format("{} before each example, {} tokens in all that are not counted",
                                            *spec.shots, core::format_count(context)));
  }
  facts.emplace_back("seq-len", std::to_string(reading.seq_len));
  for (const EvaluatedSet& set : sets) facts.emplace_back(set.name, reading_text(set));
  observer.on_facts(facts);
  for (const EvaluatedSet& set : sets) {
    for (const std::string& note : set.data.report.notes) observer.note(note);
  }

  for (EvaluatedSet& set : sets) {
    if (opened.adapter) {
      set.adapter = measure(spec, opened.decoder(), set, observer);
      opened.adapter->set_enabled(false);
    }
    set.base = measure(spec, opened.decoder(), set, observer);
    if (opened.adapter) opened.adapter->set_enabled(true);
  }
  Json& json = result.json;
  if (sets.size() == 1 && !sets.front().named) {
    json = to_json(sets.front(), spec.per_token);
  } else {
    json["sets"] = Json::object();
    for (const EvaluatedSet& set : sets) json["sets"][set.name] = to_json(set, spec.per_token);
  }
  if (spec.shots) json["shots"] = *spec.shots;
  if (spec.frontier) {
    result.frontier = frontier_of(sets, opened, spec.batch_tokens, observer);
    json["frontier"] = to_json(result.frontier, sets);
  }
  part(opened.model.shares.get(), sync);
  return result;
}

}  // namespace lowrank::recipes
