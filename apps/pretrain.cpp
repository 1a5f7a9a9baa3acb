#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/training/training_run.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/models/config.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

int pretrain(const Options& options) {
  const Console console(options);
  ConsoleProgress progress(console);
  set_threads_and_kernels(options);
  const fs::path config_file = options.text("config");
  fs::path tokenizer_folder = options.text("tokenizer");
  if (fs::is_regular_file(tokenizer_folder)) tokenizer_folder = tokenizer_folder.parent_path();
  const RunFolder folder = open_run(options, console, {config_file, tokenizer_folder});
  if (folder.finished) return 0;

  const core::Json config_json = core::read_json(config_file);
  const models::DecoderConfig config = models::parse_config(core::JsonView(config_json, config_file.string()));
  const auto tokenizer = data::Tokenizer::load(tokenizer_folder);
  if (tokenizer->size() > config.vocab_size) {
    options.fail("tokenizer", "has " + std::to_string(tokenizer->size()) + " tokens but vocab_size in " +
                                  config_file.string() + " is " + std::to_string(config.vocab_size) +
                                  "; raise vocab_size or train a smaller tokenizer");
  }
  const auto seed = static_cast<std::uint64_t>(options.integer("seed"));

  RunReport report;
  report.verb = "pretrain";
  report.command = options.command_line();
  report.options = options.resolved();
  report.model_path = config_file.string();
  report.model_name = config_file.string() + " (random start)";
  report.model_type = config.model_type;
  report.base_parameters = report.trainable_parameters = config.parameter_count();
  report.dtype = "float32";
  report.dtype_reason = "all weights are trained; saved as " + options.text("save-dtype");
  report.result_bytes =
      static_cast<std::uint64_t>(config.parameter_count()) * (options.text("save-dtype") == "bfloat16" ? 2 : 4);
  report.base_bytes = report.result_bytes;
  RunData data = read_run_data(options, *tokenizer, config.max_positions, report, progress);

  train::CausalLm::Parts parts;
  parts.decoder = models::random_decoder(config, seed);
  parts.tokenizer = tokenizer.get();
  parts.save_dtype = options.text("save-dtype") == "bfloat16" ? at::kBFloat16 : at::kFloat;
  parts.plan = plan_options(options);
  parts.seed = seed;
  std::vector<std::int64_t> lengths;
  for (const data::Example& example : data.train.examples)
    lengths.push_back(static_cast<std::int64_t>(example.ids.size()));
  parts.recompute = choose_recompute(options, earlier_choices(options), config, data::Plan(lengths, parts.plan),
                                     data.train, at::kFloat, report);
  core::Json facts = {{"config.json", core::sha256_file(config_file)},
                      {"recompute", parts.recompute ? "layer" : "none"},
                      {"tokenizer", hash_files(tokenizer->files())}};
  for (const DataUsed& used : report.data) facts[used.name + " data"] = used.report.sha256;
  parts.train = std::move(data.train);
  parts.evaluation = std::move(data.evaluation);
  train::CausalLm objective(std::move(parts));
  return train_and_report(options, console, objective, report, train_options(options, 1e-3), facts).exit_code;
}

}  // namespace

Verb pretrain_verb() {
  Verb verb;
  verb.name = "pretrain";
  verb.summary = "Train a small model from a random start";
  verb.example = "lowrank pretrain --config config.json --tokenizer tok/ --data text/ --out base";
  verb.options = {
      {"config", OptionType::kText, "FILE", nullptr, "Model", "config.json of the model to make", {}, true},
      {"tokenizer",
       OptionType::kText,
       "FILE",
       nullptr,
       "Model",
       "tokenizer.json or tokenizer.model, or the folder of it (see `lowrank tokenizer train`)",
       {},
       true},
      {"save-dtype",
       OptionType::kText,
       "TYPE",
       "bfloat16",
       "Model",
       "Type of the weights in the result",
       {"bfloat16", "float32"}},
  };
  for (const auto& group : {data_options(), training_options("1e-3"), run_options()}) {
    verb.options.insert(verb.options.end(), group.begin(), group.end());
  }
  verb.run = pretrain;
  return verb;
}

}  // namespace lowrank::apps
