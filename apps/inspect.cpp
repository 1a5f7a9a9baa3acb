// `lowrank inspect`: finds out what a path is and tells what is in it.
#include "lowrank/recipes/inspection/inspect.h"

#include "lowrank/apps/console/marks.h"
#include "lowrank/apps/console/next_step.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/recipes/run/chat_files.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

recipes::Inspection inspect_data_of(const Options& options, const Console& console) {
  const std::string& model = options.positional(0);
  const auto tokenizer = open_tokenizer(model);
  data::DataOptions reading;
  reading.format = data::parse_format(options.text("format"));
  reading.train_on_prompt = options.flag("train-on-prompt");
  reading.files.map = row_map_asked_for(options);
  fs::path folder = model, adapter;
  const bool tokenizer_alone = fs::is_directory(model) && !fs::exists(fs::path(model) / "config.json") &&
                               !fs::exists(fs::path(model) / "adapter_config.json");
  if (tokenizer_alone) {
    if (options.has("seq-len")) reading.seq_len = static_cast<int>(options.integer_in("seq-len", 2, 1 << 24));
  } else {
    const models::Resolved resolved = models::resolve(model);
    reading.seq_len = sequence_length(options, models::read_config(resolved.model));
    folder = resolved.model;
    adapter = resolved.adapter.value_or("");
  }
  reading.chat = recipes::chat_layout(chat_asked_for(options), *tokenizer, folder,
                                      adapter.empty() ? std::nullopt : std::optional(adapter));
  ConsoleProgress progress(console);
  data::Dataset dataset = data::load(options.paths("data"), *tokenizer, reading, &progress);
  for (std::string& note : dataset.report.notes) note = as_flags(options.verb(), note);
  return recipes::inspect_data(dataset, *tokenizer, options.integer_in("examples", 0, 1 << 30), token_marks());
}

int inspect(const Options& options) {
  const Console console(options);
  for (const char* name : {"examples", "format", "columns", "layout", "seq-len", "train-on-prompt", "chat-template",
                           "template-arg", "date", "loss-on"}) {
    if (options.given(name) && !options.given("data")) options.fail(name, "goes with --data PATH, which is missing");
  }
  const recipes::Inspection inspection = options.given("data")
                                             ? inspect_data_of(options, console)
                                             : recipes::inspect_path(options.positional(0), options.flag("tensors"));
  console.text(inspection.text);
  const std::string& path = options.positional(0);
  const std::string kind = inspection.json.value("kind", "");
  if (options.given("data") || kind == "model") {
    print_next(console, {"finetune", path, "--data", options.given("data") ? options.texts("data").front() : "corpus/",
                         "--out", "runs/first"});
  } else if (kind == "adapter") {
    print_next(console, {"generate", path, "--prompt", "Once upon a time"});
  }
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
      option_columns(),
      option_layout(),
      option_seq_len("Tokens a piece or row has at most [min(1024, the model's positions)]"),
      {"train-on-prompt", OptionType::kFlag, "", false, "Data", "As finetune would with it", {}},
      option_json(),
      option_quiet(),
  };
  const std::vector<OptionSpec> chat = recipes::chat_fields(true);
  verb.options.insert(verb.options.end() - 2, chat.begin(), chat.end());
  verb.run = inspect;
  return verb;
}

}  // namespace lowrank::apps
