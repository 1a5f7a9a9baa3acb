// `lowrank generate`: a prompt continued.
#include <fmt/format.h>

#include <filesystem>

#include "lowrank/apps/opening.h"
#include "lowrank/apps/sampling_options.h"
#include "lowrank/apps/style.h"
#include "lowrank/apps/terminal.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/models/generate.h"

namespace lowrank::apps {

namespace {

std::string prompt_text(const Options& options) {
  if (options.given("prompt") && options.given("prompt-file")) options.fail("prompt-file", "give --prompt or --prompt-file, not both");
  if (options.given("prompt")) return options.text("prompt");
  if (options.given("prompt-file")) return core::read_file(options.text("prompt-file"));
  throw ConfigError("lowrank generate: give --prompt TEXT or --prompt-file FILE");
}

int generate(const Options& options) {
  const Console console(options);
  const std::string prompt = prompt_text(options);
  const models::GenerateOptions sampling = sampling_options(options);
  Opened opened = open_model(options, console);

  const std::vector<data::TokenId> ids = opened.tokenizer().encode(prompt);
  const std::int64_t positions = opened.decoder().config().max_positions;
  if (static_cast<std::int64_t>(ids.size()) >= positions) {
    throw ConfigError(fmt::format("the prompt has {} tokens and the model {} positions, so there is no room for an answer; "
                                  "shorten the prompt",
                                  ids.size(), positions));
  }
  const auto on_text = [&](const std::string& text) {
    if (!console.json()) print_out(text);
  };
  // On a terminal the prompt stands before its continuation; a pipe gets the continuation alone.
  if (!console.silent() && stdout_is_terminal()) print_out(dim(prompt));
  const double begun = now_seconds();
  const models::Generated generated = models::generate(opened.decoder(), opened.tokenizer(), ids, sampling, on_text);
  const double seconds = now_seconds() - begun;
  if (!console.json()) print_out("\n");
  if (console.live()) {
    print_error(fmt::format("{} tokens in {:.1f} s ({:.1f} tokens/s), ended by {}\n", generated.ids.size(), seconds,
                            static_cast<double>(generated.ids.size()) / seconds, generated.finish));
  }
  console.result({{"text", generated.text},
                  {"prompt_ids", generated.prompt_ids},
                  {"ids", generated.ids},
                  {"finish", generated.finish}});
  return 0;
}

}  // namespace

Verb generate_verb() {
  Verb verb;
  verb.name = "generate";
  verb.summary = "Continue a prompt";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank generate MODEL --adapter out --prompt \"The fresco\" --max-new-tokens 64";
  verb.options = {
      {"prompt", OptionType::kText, "TEXT", nullptr, "Input", "The text to continue", {}},
      {"prompt-file", OptionType::kText, "FILE", nullptr, "Input", "A file with it, as it is", {}},
  };
  append_sampling_options(verb, 128);
  verb.options.insert(verb.options.end(),
                      {option_adapter(), option_dtype(), option_threads(), option_json(), option_quiet()});
  verb.run = generate;
  return verb;
}

}  // namespace lowrank::apps
