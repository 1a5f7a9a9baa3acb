// `lowrank generate`: a prompt continued, or every prompt of a file.
#include "lowrank/models/generate.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/generation/generate_file.h"
#include "lowrank/apps/generation/generation_options.h"
#include "lowrank/apps/generation/model_settings.h"
#include "lowrank/apps/generation/sampling_options.h"
#include "lowrank/apps/generation/search_options.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/generation/speaker.h"

namespace lowrank::apps {

namespace {

std::string prompt_text(const Options& options) {
  if (options.given("prompt") && options.given("prompt-file"))
    options.fail("prompt-file", "give --prompt or --prompt-file, not both");
  if (options.given("prompt")) return options.text("prompt");
  if (options.given("prompt-file")) return named_text(options.text("prompt-file"));
  throw ConfigError("lowrank generate: give --prompt TEXT, --prompt-file FILE, or --input FILE of many prompts");
}

int generate(const Options& options) {
  if (options.given("input")) return generate_file(options);
  for (const char* name : {"output", "columns", "batch-size", "resume", "overwrite", "chat-template",
                           "template-arg", "date"}) {
    if (options.given(name)) options.fail(name, "goes with --input");
  }
  const Console console(options);
  const recipes::PromptLayout layout = layout_asked_for(options);
  const std::string prompt = layout.apply(prompt_text(options));
  models::GenerateOptions sampling = sampling_options(options, console);
  if (!layout.stop.empty()) sampling.stop.push_back(layout.stop);
  const std::optional<models::BeamOptions> beams = search_options(options);
  const std::vector<recipes::NamedAdapter> named = adapters_asked_for(options);
  Opened opened = open_base(options, console, named);
  say_unused_settings(options, console, opened.model.path);
  ConsoleProgress notes(console);
  const recipes::AdapterSwitch adapters(opened.decoder(), named, notes);

  const recipes::Speaker speaker = recipes::speaker_of(opened.model, adapters.directory(adapters.current()), {});
  const data::Tokenizer& tokenizer = *speaker.tokenizer;
  sampling.end_ids = speaker.end_ids;
  const std::vector<data::TokenId> ids = tokenizer.encode_prompt(prompt);
  const std::int64_t positions = opened.decoder().config().max_positions;
  if (static_cast<std::int64_t>(ids.size()) >= positions) {
    throw ConfigError(
        fmt::format("the prompt has {} tokens and the model {} positions, so there is no room for an answer; "
                    "shorten the prompt",
                    ids.size(), positions));
  }
  // Word by word where words come one by one and nothing is cut off them.
  const bool streams = !beams && layout.after.empty() && !console.json();
  const auto on_text = [&](const std::string& text) {
    if (streams) print_answer(text);
  };
  // On a terminal the prompt stands before its continuation; a pipe gets the continuation alone.
  if (!console.silent() && stdout_is_terminal()) print_out(dim(prompt));
  const double begun = now_seconds();
  models::Generated generated =
      beams ? std::move(models::beam_search(opened.decoder(), tokenizer, {{ids, 0}}, sampling, *beams).front())
            : models::generate(opened.decoder(), tokenizer, ids, sampling, on_text);
  const double seconds = now_seconds() - begun;
  generated.text = layout.answer(generated.text);
  if (!console.json()) print_answer(streams ? "\n" : (layout.after.empty() ? "" : " ") + generated.text + "\n");
  if (console.live()) {
    print_error(fmt::format("{} in {:.1f} s ({:.1f} tokens/s), ended by {}\n", core::counted(static_cast<std::int64_t>(generated.ids.size()), "token"), seconds,
                            static_cast<double>(generated.ids.size()) / seconds, generated.finish));
  }
  core::Json result = {{"text", generated.text},
                       {"prompt_ids", generated.prompt_ids},
                       {"ids", generated.ids},
                       {"finish", generated.finish},
                       {"seconds", seconds}};
  if (beams) result["score"] = generated.score;
  console.result(result);
  return 0;
}

}  // namespace

Verb generate_verb() {
  Verb verb;
  verb.name = "generate";
  verb.summary = "Continue a prompt, or every prompt of a file";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank generate MODEL --adapter out --prompt \"The fresco\" --max-new-tokens 64";
  verb.options = {
      {"prompt", OptionType::kText, "TEXT", nullptr, "Input", "The text to continue", {}},
      {"prompt-file", OptionType::kText, "FILE", nullptr, "Input", "A file with it, as it is (- reads stdin)", {}},
  };
  append_layout_options(verb);
  append_file_options(verb);
  for (recipes::FieldInfo field : recipes::chat_fields(false)) {
    field.group = "Files";
    verb.options.push_back(std::move(field));
  }
  append_sampling_options(verb, 128);
  append_search_options(verb);
  verb.options.insert(verb.options.end(),
                      {option_adapters(), option_dtype(), option_base_dtype(), option_device(), option_threads(), option_json(),
                       option_quiet()});
  verb.run = generate;
  return verb;
}

}  // namespace lowrank::apps
