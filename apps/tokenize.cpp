// `lowrank tokenize`: the ids of a text, or of every text of a file.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>

#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"
#include "lowrank/data/line_reader.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/rows.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/text_documents.h"
#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::apps {

namespace {

std::string input_text(const Options& options) {
  if (options.given("text") && options.given("file")) options.fail("file", "give --text or --file, not both");
  if (options.given("text")) return options.text("text");
  if (!options.given("file")) throw ConfigError("lowrank tokenize: give --text TEXT, --file FILE or --input ROWS (- reads stdin)");
  return named_text(options.text("file"));
}

/// A text of a file, and the row that it stands in: {"text"} of a line.
using SeeText = std::function<void(const std::string& text, core::Json row)>;

/// Rows with "text" or, without one, "prompt"; rows that are strings; the lines of a plain text that are not blank.
void each_text(const std::string& input, const data::RowMap* map, std::vector<std::string>& notes, const SeeText& see) {
  for (const data::Source& source : data::find_sources({input}, data::Format::kAuto, notes, {data::Part::kTest})) {
    if (source.kind == data::SourceKind::kText) {
      data::LineReader reader(source.file);
      for (std::string_view line; reader.next(line);) {
        const std::string text = core::replace_invalid_utf8(line);
        if (!data::is_blank(text)) see(text, {{"text", text}});
      }
      continue;
    }
    const data::RowFileFacts facts = data::for_each_row(source, [&](const core::JsonView& found, std::uint64_t) {
      if (found.is_string()) return see(found.as_string(), {{"text", found.as_string()}});
      const core::Json columns = data::with_columns(map, found);
      const core::JsonView row(columns, found.where());
      if (!row.has("text"))
        data::refuse_unpaired(row, "and of such a row `tokenize` would show the prompt alone; name what is meant with "
                                   "`columns` (text=completion)");
      const char* key = row.has("text") ? "text" : "prompt";
      if (!row.has(key)) {
        throw DataError(row.where() + ": expected a row with \"text\" or \"prompt\", or a string" +
                        (row.is_object() ? fmt::format("; found the keys {}",
                                                       core::printable(fmt::format("{}", fmt::join(row.keys(), ", "))))
                                         : ""));
      }
      bool faults = false;
      see(row.at(key).as_string(), data::without_faults(row.raw(), faults));
    });
    notes.insert(notes.end(), facts.notes.begin(), facts.notes.end());
  }
}

/// A line for each text: its ids or, with --json, its row with "ids" (those of what was called so before are replaced).
int tokenize_file(const Options& options, const Console& console) {
  constexpr std::size_t kWrittenAtOnce = 1 << 16;
  for (const char* name : {"text", "file"}) {
    if (options.given(name)) options.fail(name, "does not go with --input; give one of them");
  }
  const auto tokenizer = open_tokenizer(options.positional(0));
  const bool special = !options.flag("no-special");
  std::int64_t texts = 0, tokens = 0;
  std::string lines;
  std::vector<std::string> notes;
  each_text(options.text("input"), row_map_asked_for(options).get(), notes, [&](const std::string& text, core::Json row) {
    const std::vector<data::TokenId> ids = tokenizer->encode(text, special);
    ++texts;
    tokens += static_cast<std::int64_t>(ids.size());
    if (console.json()) row["ids"] = ids;
    lines += (console.json() ? core::visible_json(core::json_text(row)) : fmt::format("{}", fmt::join(ids, " "))) + "\n";
    if (lines.size() < kWrittenAtOnce) return;
    print_out(lines);
    lines.clear();
  });
  print_out(lines);
  for (const std::string& note : notes) console.warning(as_flags(options.verb(), note));
  console.line(core::counted(tokens, "token") + " of " + core::counted(texts, "text"));
  return 0;
}

int tokenize(const Options& options) {
  const Console console(options);
  if (options.given("input")) return tokenize_file(options, console);
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
  console.line(core::counted(static_cast<std::int64_t>(ids.size()), "token") + " of " +
               core::counted(static_cast<std::int64_t>(text.size()), "byte"));
  return 0;
}

}  // namespace

Verb tokenize_verb() {
  Verb verb;
  verb.name = "tokenize";
  verb.summary = "The token ids of a text, or of many";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank tokenize MODEL --text \"Once upon a time\"";
  verb.options = {
      {"text", OptionType::kText, "TEXT", nullptr, "Input", "The text", {}},
      {"file", OptionType::kText, "FILE", nullptr, "Input", "A file with the text, as it is (- reads stdin)", {}},
      {"input", OptionType::kText, "FILE", nullptr, "Input",
       "A file of many texts, as finetune reads them: rows with \"text\" or \"prompt\", or lines; with --json one object "
       "a row",
       {}},
      option_columns(),
      {"no-special", OptionType::kFlag, "", false, "Input", "Without the BOS and EOS that the tokenizer adds", {}},
      option_json(),
      option_quiet(),
  };
  verb.run = tokenize;
  return verb;
}

}  // namespace lowrank::apps
