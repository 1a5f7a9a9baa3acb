// What recipes are told: specs of data, adapter, training and run, which the recipes' own specs are made of.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

/// Data made in the program, once the tokenizer and the cut are known.
using DataSource = std::function<data::Dataset(const data::Tokenizer&, const data::DataOptions&)>;
/// Documents of plain text.
DataSource texts(std::vector<std::string> documents);

/// How conversations become text, and what of them is learned.
struct ChatSpec {
  std::optional<std::string> chat_template;  // a file, or "none": the plain role layout
  std::vector<std::string> template_arg;     // NAME=VALUE
  std::optional<std::string> date;
  std::vector<std::string> loss_on;  // empty: all-assistant
};

/// What is learned, and what it is measured on.
struct DataSpec {
  std::vector<std::string> data;  // files and folders
  std::string format = "auto";
  std::optional<std::int64_t> seq_len;
  std::vector<std::string> val_data;
  double val_split = 0.05;
  std::optional<std::int64_t> split_seed;
  std::vector<std::string> general_data;
  std::optional<std::string> columns, layout;
  double mix_temperature = 1;
  std::string token_cache = "auto";  // "off", or a folder
  bool train_on_prompt = false, no_shuffle = false;
  ChatSpec chat;
  DataSource train_source, validation_source, general_source;  // instead of data, val_data, general_data
  bool has_validation() const { return !val_data.empty() || validation_source; }
  bool has_general() const { return !general_data.empty() || general_source; }
};

/// The adapter that is trained. `adapter`: the one that the run starts from.
struct AdapterSpec {
  std::string method = "lora";
  std::optional<std::int64_t> rank;
  std::optional<double> alpha, dropout;
  std::optional<std::string> targets, target_parameters, exclude, layers;
  bool rslora = false;
  std::vector<std::string> rank_pattern, alpha_pattern;
  std::optional<std::string> modules_to_save, bias;
  std::optional<std::string> add_tokens;  // a file
  bool dora = false;
  std::optional<std::string> init;
  std::optional<double> lora_plus_ratio;
  std::optional<std::string> adapter;
};

struct TrainSpec {
  double epochs = 3;
  std::optional<std::int64_t> max_steps;
  std::int64_t batch_size = 4;
  std::optional<std::int64_t> batch_tokens;
  std::int64_t grad_accum = 1;
  AutoNumber lr;
  std::string schedule = "cosine";
  double warmup = 0.03, clip = 1, weight_decay = 0, l1 = 0, l2 = 0;
  std::optional<std::int64_t> early_stopping, eval_every;
  std::optional<std::string> on_spike;
  double eval_budget = 0.1;
  std::int64_t seed = 42;
};

/// Against overfitting and forgetting.
struct RegularisationSpec {
  double delta_l1 = 0, delta_l2 = 0, orthogonality = 0;
  std::optional<double> max_delta_norm;
  double label_smoothing = 0, neftune = 0, router_aux_loss = 0;
  std::optional<double> ema, min_gain;
  std::optional<std::string> max_forgetting;  // "5%" or "0.05"
};

/// Several runs of one spec, and what their single runs are made of.
struct LittleDataSpec {
  std::optional<std::string> preset;
  std::optional<std::int64_t> folds, seeds;
  bool learning_curve = false;
  std::optional<std::string> fold;  // "2/5"
  std::optional<double> share;
};

/// Where and how a run runs.
struct RunSpec {
  std::string dtype = "auto", base_dtype = "auto", shard_base = "off";
  std::string device = "cpu";
  std::optional<std::int64_t> threads;
  std::string recompute = "auto", kernels = "fused", pack = "auto";
  std::string out;
  std::optional<std::int64_t> save_every;
  std::int64_t keep_last = 2;
  bool resume = false, overwrite = false, force = false, dry_run = false, fit = false;
  std::optional<std::int64_t> log_every;
  bool tensorboard = false, profile = false;

  std::string command;  // that made this spec, for run.json and the model card; empty: it is made of the fields
  std::function<void()> begins;  // called when all is checked and read, before the run writes its first file
};

/// Words of help that differ between recipes.
struct DataWords {
  std::string data, seq_len, val_data, no_shuffle,
      val_split = "Share of `data` kept for validation without `val-data`; 0: none";
};
struct TrainWords {
  std::string lr;  // the default rate
  std::string batch_size = "Examples (pieces of a text) in a micro-batch";
  bool lr_auto = true;  // `lr` auto finds one
};

/// Text or rows: every field of data.
void describe_text(Fields& table, DataSpec& spec);
/// How conversations are laid out; `learned`: and what of them is learned.
void describe(Fields& table, ChatSpec& spec, bool learned = true);
/// Data without a format of text: data, seq-len, val-data, val-split, no-shuffle.
void describe_data(Fields& table, DataSpec& spec, const DataWords& words);
void describe_method(Fields& table, AdapterSpec& spec);
void describe(Fields& table, AdapterSpec& spec);
void describe(Fields& table, TrainSpec& spec, const TrainWords& words);
void describe(Fields& table, RegularisationSpec& spec);
/// router-aux-loss, in the group that the table is at.
void describe_router_loss(Fields& table, double& weight);
void describe_router_loss(Fields& table, std::optional<double>& weight, const std::string& fallback);
void describe(Fields& table, LittleDataSpec& spec);
void describe_dtype(Fields& table, RunSpec& spec);
void describe(Fields& table, RunSpec& spec);

// Fields that verbs share which are no runs.
FieldInfo dtype_field();
FieldInfo base_dtype_field();
FieldInfo shard_base_field();
FieldInfo device_field();
FieldInfo threads_field();
FieldInfo format_field();
std::vector<FieldInfo> chat_fields(bool learned);
FieldInfo columns_field();
FieldInfo layout_field();
void describe_columns(Fields& table, std::optional<std::string>& columns);
void describe_layout(Fields& table, std::optional<std::string>& layout);

}  // namespace lowrank::recipes
