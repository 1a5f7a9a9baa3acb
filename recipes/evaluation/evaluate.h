// How well a model predicts data sets, with its adapter off and on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/kernels/runtime.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

/// Of evaluate, compare, evaluate_labels and evaluate_images.
struct EvaluateSpec : Spec {
  std::string model;              // a folder, ORG/NAME in the Hugging Face cache, or an adapter
  std::vector<std::string> data;  // [NAME=]PATH; equal names are one set
  std::optional<std::string> task;
  std::string format = "auto";
  std::optional<std::string> columns, layout;
  std::optional<std::int64_t> seq_len;
  bool train_on_prompt = false;
  ChatSpec chat;
  std::int64_t batch_tokens = 2048;
  std::optional<std::int64_t> shots;
  std::vector<std::string> shots_data;
  bool frontier = false, per_token = false;
  std::optional<std::string> adapter;
  std::string dtype = "auto", base_dtype = "auto", shard_base = "off", device = "cpu";
  std::optional<std::int64_t> threads;
  // of a comparison
  std::vector<std::string> compare, questions;  // [NAME=]PATH
  std::optional<std::string> extract;
  std::int64_t max_new_tokens = 128;
  std::vector<std::string> perturb;
  std::optional<std::string> out;  // folder for report.html and comparison.json
  std::int64_t seed = 42;
  std::string command;  // that made this spec, for the report; empty: it is made of the fields
};
void describe(Fields& table, EvaluateSpec& spec);

using Rows = std::vector<std::pair<std::string, std::string>>;
/// How the models are loaded; what is to be said of that before the measuring begins goes to `remarks`.
models::LoadOptions loading_of(const EvaluateSpec& spec, const Fields& fields, Observer& observer, Rows& remarks);
/// Of several ranks: ConfigError where one has another base, adapter (its folder; empty: none) or data, by their bytes.
void require_same(train::GradSync& sync, const models::LoadedModel& model, const std::filesystem::path& adapter,
                  const std::vector<std::pair<std::string, const data::ReadReport*>>& data, Observer& observer);
/// Checks the fields; what the spec runs under.
kernels::Runtime begin(const EvaluateSpec& spec, const Fields& fields);
/// `adapter`: whose template, where it has one, goes before the model's; empty: none.
data::DataOptions reading_of(const EvaluateSpec& spec, const Fields& fields, const models::LoadedModel& model,
                             const std::filesystem::path& adapter);

class EvaluationObserver : public Observer {
 public:
  /// Models and data are read; nothing is measured yet.
  virtual void on_facts(const Rows&) {}
};

struct EvaluatedSet {
  std::string name;
  bool named = false;  // the user gave the name; else it is the path's
  data::Dataset data;
  eval::Perplexity base;  // adapters off
  std::optional<eval::Perplexity> adapter;
};

/// Perplexities at a scale of the adapter's update.
struct FrontierPoint {
  double scale = 0;
  std::vector<double> nll;  // of each set
};

struct EvaluateResult {
  std::vector<EvaluatedSet> sets;
  std::vector<FrontierPoint> frontier;
  core::Json json;
};
EvaluateResult evaluate(const EvaluateSpec& spec, EvaluationObserver& observer);

}  // namespace lowrank::recipes
