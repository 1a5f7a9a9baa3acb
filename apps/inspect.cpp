// `lowrank inspect`: finds out what a path is and tells what is in it.
#include "lowrank/apps/inspection/inspect.h"

#include <fmt/format.h>

#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

Inspection inspect_data_of(const Options& options, const Console& console) {
  const std::string& model = options.positional(0);
  const auto tokenizer = open_tokenizer(model);
  data::DataOptions reading;
  reading.format = data::parse_format(options.text("format"));
  reading.train_on_prompt = options.flag("train-on-prompt");
  const bool tokenizer_alone = fs::is_directory(model) && !fs::exists(fs::path(model) / "config.json") &&
                               !fs::exists(fs::path(model) / "adapter_config.json");
  if (tokenizer_alone) {
    if (options.has("seq-len")) reading.seq_len = static_cast<int>(options.integer_in("seq-len", 2, 1 << 24));
  } else {
    reading.seq_len = sequence_length(options, models::read_config(models::resolve(model).model));
  }
  ConsoleProgress progress(console);
  data::Dataset dataset = data::load(options.paths("data"), *tokenizer, reading, &progress);
  for (std::string& note : dataset.report.notes) note = as_flags(options.verb(), note);
  return inspect_data(dataset, *tokenizer, options.integer_in("examples", 0, 1 << 30));
}

Inspection inspect_path(const Options& options) {
  const fs::path path = options.positional(0);
  const bool tensors = options.flag("tensors");
  const auto holds = [&](const char* name) { return fs::is_regular_file(path / name); };
  if (fs::is_regular_file(path)) {
    if (path.extension() == ".safetensors") return inspect_safetensors(path);
    throw ConfigError(
        fmt::format("{}: inspect takes a model, an adapter, a checkpoint or a .safetensors file; a data set is "
                    "shown by `lowrank inspect MODEL --data {}`",
                    path.string(), path.string()));
  }
  if (fs::is_directory(path)) {
    if (holds("trainer_state.json") || holds("manifest.json")) return inspect_checkpoint(path, tensors);
    if (holds("adapter_config.json")) return inspect_adapter(path, tensors);
    if (holds("run.json") || fs::is_directory(path / "checkpoints")) {
      if (!holds("config.json")) {
        throw ConfigError(
            fmt::format("{} is the folder of an unfinished run; `lowrank runs {}` shows where it stands, and its "
                        "checkpoints can be inspected",
                        path.string(), path.string()));
      }
    }
  }
  return inspect_model(models::resolve(path.string()).model, tensors);
}

int inspect(const Options& options) {
  const Console console(options);
  for (const char* name : {"examples", "format", "seq-len", "train-on-prompt"}) {
    if (options.given(name) && !options.given("data")) options.fail(name, "goes with --data PATH, which is missing");
  }
  const Inspection inspection = options.given("data") ? inspect_data_of(options, console) : inspect_path(options);
  if (!console.silent()) print_out(inspection.text);
  console.result(inspection.json);
  return 0;
}

}  // namespace

Verb inspect_verb() {
  Verb verb;
  verb.name = "inspect";
  verb.summary = "What is in a model, an adapter, a checkpoint, a .safetensors file or a data set";
  verb.positionals = {"PATH"};
  verb.example = "lowrank inspect MODEL --data train.jsonl --examples 2";
  verb.options = {
      {"tensors", OptionType::kFlag, "", false, "Output", "List every tensor", {}},
      {"data",
       OptionType::kTexts,
       "PATH...",
       nullptr,
       "Data",
       "Show examples of this data as the model PATH would see them",
       {}},
      {"examples", OptionType::kInt, "N", 3, "Data", "How many", {}},
      option_format(),
      option_seq_len("Tokens a piece or row has at most [min(1024, the model's positions)]"),
      {"train-on-prompt", OptionType::kFlag, "", false, "Data", "As finetune would with it", {}},
      option_json(),
      option_quiet(),
  };
  verb.run = inspect;
  return verb;
}

}  // namespace lowrank::apps
