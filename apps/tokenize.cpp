// `lowrank tokenize`: the ids of a text.
#include <fmt/format.h>

#include <iostream>
#include <iterator>

#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::apps {

namespace {

std::string input_text(const Options& options) {
  if (options.given("text") && options.given("file")) options.fail("file", "give --text or --file, not both");
  if (options.given("text")) return options.text("text");
  if (!options.given("file")) throw ConfigError("lowrank tokenize: give --text TEXT or --file FILE (- reads stdin)");
  if (options.text("file") == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  return core::read_file(options.text("file"));
}

int tokenize(const Options& options) {
  const Console console(options);
  const std::string text = input_text(options);
  const auto tokenizer = open_tokenizer(options.positional(0));
  const std::vector<data::TokenId> ids = tokenizer->encode(text, !options.flag("no-special"));
  if (console.json()) {
    console.result({{"ids", ids}});
    return 0;
  }
  std::string lines;
  for (const data::TokenId id : ids) {
    const std::string piece = core::printable(tokenizer->id_to_token(id), 200);
    lines += fmt::format("{:>7}  {}\n", id, tokenizer->is_special(id) ? dim(piece) : piece);
  }
  print_out(lines);
  console.line(fmt::format("{} tokens of {} bytes", core::format_count(static_cast<std::int64_t>(ids.size())),
                           core::format_count(static_cast<std::int64_t>(text.size()))));
  return 0;
}

}  // namespace

Verb tokenize_verb() {
  Verb verb;
  verb.name = "tokenize";
  verb.summary = "The token ids of a text";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank tokenize MODEL --text \"Once upon a time\"";
  verb.options = {
      {"text", OptionType::kText, "TEXT", nullptr, "Input", "The text", {}},
      {"file", OptionType::kText, "FILE", nullptr, "Input", "A file with the text, as it is (- reads stdin)", {}},
      {"no-special", OptionType::kFlag, "", false, "Input", "Without the BOS and EOS that the tokenizer adds", {}},
      option_json(),
      option_quiet(),
  };
  verb.run = tokenize;
  return verb;
}

}  // namespace lowrank::apps
