// `lowrank inspect`: finds out what a path is and tells what is in it.
#include "lowrank/recipes/inspection/inspect.h"

#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

recipes::Inspection inspect_data_of(const Options& options, const Console& console) {
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
  const bool styled = stdout_is_styled();
  const recipes::Marks marks = {[=](const std::string& text) { return styled ? dim(text) : "⟦" + text + "⟧"; },
                                [=](const std::string& id) { return styled ? dim(id) : "(" + id + ")"; },
                                [](const std::string& title) { return bold(title); },
                                styled ? "Dimmed: seen, but not learned." : "⟦…⟧ and (id): seen, but not learned."};
  return recipes::inspect_data(dataset, *tokenizer, options.integer_in("examples", 0, 1 << 30), marks);
}

int inspect(const Options& options) {
  const Console console(options);
  for (const char* name : {"examples", "format", "seq-len", "train-on-prompt"}) {
    if (options.given(name) && !options.given("data")) options.fail(name, "goes with --data PATH, which is missing");
  }
  const recipes::Inspection inspection = options.given("data")
                                             ? inspect_data_of(options, console)
                                             : recipes::inspect_path(options.positional(0), options.flag("tensors"));
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
