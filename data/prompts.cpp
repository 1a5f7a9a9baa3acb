#include "lowrank/data/prompts.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/random.h"
#include "lowrank/core/text.h"
#include "lowrank/data/asked.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/standard_input.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::data {
namespace {

/// What a reading knows beside the prompts.
struct PromptReading {
  const Tokenizer& tokenizer;
  std::shared_ptr<const ChatLayout> layout;
  TurnReader turns;
  std::size_t longest;
  Prompts result = {};
  std::int64_t conversations = 0;
};

void add(PromptReading& reading, Prompt prompt) {
  ReadReport& report = reading.result.report;
  if (prompt.ids.empty()) {  // text; a conversation comes with its ids
    if (is_blank(prompt.text)) {
      ++report.empty;
      return;
    }
    prompt.ids = reading.tokenizer.encode_prompt(prompt.text);
  }
  if (prompt.ids.empty() || prompt.ids.size() > reading.longest) {
    ++report.truncated;
    return;
  }
  report.tokens += static_cast<std::int64_t>(prompt.ids.size());
  reading.result.prompts.push_back(std::move(prompt));
}

void read_lines(PromptReading& reading, const core::FileRef& file) {
  CleanText clean = read_clean_text(file);
  if (!clean.note.empty()) reading.result.report.notes.push_back(clean.note);
  std::istringstream lines(std::move(clean.text));
  std::size_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    add(reading, {{}, line, name_of(file) + " line " + std::to_string(++number), std::nullopt});
  }
}

/// The ids of a conversation up to its next answer; the text is that of the tokens.
void lay_out(PromptReading& reading, const Conversation& conversation, Prompt& prompt) {
  ++reading.conversations;
  reading.result.report.chat_template = reading.layout->has_template();
  prompt.ids = conversation_prompt_ids(reading.tokenizer, *reading.layout, conversation);
  prompt.text = reading.tokenizer.decode(prompt.ids);
}

Prompt prompt_of(PromptReading& reading, const core::JsonView& row) {
  try {
    Prompt prompt{{}, "", row.where(), std::nullopt};
    Asked asked = asked_by(row, reading.turns, reading.layout->has_template());
    if (asked.conversation) {
      lay_out(reading, *asked.conversation, prompt);
    } else {
      prompt.text = std::move(asked.text);
    }
    if (row.is_object() && row.has_value("answer")) {
      const core::JsonView answer = row.at("answer");
      prompt.answer = answer.raw().is_number() ? core::json_text(answer.raw()) : answer.as_string();
    }
    return prompt;
  } catch (const FormatError& error) {  // a value of a wrong type: a fault of the data
    throw DataError(error.what());
  }
}

}  // namespace

Prompts load_prompts(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, std::int64_t longest,
                     std::shared_ptr<const ChatLayout> chat, const FileOptions& files) {
  if (chat == nullptr) chat = chat_layout_of(tokenizer);
  const ChatLayout& layout = *chat;
  PromptReading reading{tokenizer, std::move(chat), TurnReader(layout),
                  static_cast<std::size_t>(std::max<std::int64_t>(0, longest))};
  ReadReport& report = reading.result.report;
  std::string digests;
  bool rows = false, lines = false;
  for (const Source& source : find_unweighted_sources(paths, report.notes, files)) {
    if (source.kind == SourceKind::kText) {
      read_lines(reading, source.file);
      lines = true;
    } else {
      const RowFileFacts facts = for_each_row(
          source, [&](const core::JsonView& row, std::uint64_t) { add(reading, prompt_of(reading, row)); });
      report.notes.insert(report.notes.end(), facts.notes.begin(), facts.notes.end());
      rows = true;
    }
    digests += core::sha256_file(source.file) + "\n";
    ++report.files;
  }
  report.sha256 = core::sha256(digests);
  report.format = rows && lines ? "prompts + lines" : rows ? "prompts" : "lines";
  report.documents = report.examples = static_cast<std::int64_t>(reading.result.prompts.size());
  if (reading.result.prompts.empty()) {
    throw DataError("no prompt is left: " + core::format_count(report.empty) + " are blank, and " +
                    core::format_count(report.truncated) + " have more than " + std::to_string(longest) +
                    " tokens, which is what `seq-len` leaves beside `response-length`");
  }
  if (reading.conversations > 0) {
    report.notes.push_back(
        core::format_count(reading.conversations) + " conversations are laid out " +
        (layout.has_template() ? "by the chat template " + layout.main_template().name() : "in the plain role layout") +
        ", up to where the next answer begins");
  }
  for (std::string& note : reading.turns.notes().sentences()) report.notes.push_back(std::move(note));
  if (report.truncated > 0) {
    report.notes.push_back(core::format_count(report.truncated) + " prompts of more than " + std::to_string(longest) +
                           " tokens were dropped: `seq-len` must hold the prompt and `response-length` tokens");
  }
  return std::move(reading.result);
}

Prompts hold_out(Prompts& all, double fraction, std::uint64_t seed) {
  const auto n = static_cast<std::uint32_t>(all.prompts.size());
  if (n < 2) throw DataError("a single prompt cannot be split; give `val-data` or `val-split` 0");
  const auto wanted = static_cast<std::uint32_t>(std::ceil(fraction * n - 1e-9));
  const std::uint32_t count = std::clamp<std::uint32_t>(wanted, 1, n - 1);
  const std::vector<std::uint32_t> order = core::RandomStream(seed, "split").permutation(n, 0);
  std::vector<bool> held(n, false);
  for (std::uint32_t i = 0; i < count; ++i) held[order[i]] = true;
  Prompts out, rest;
  out.report = rest.report = all.report;
  out.report.notes.clear();
  for (std::uint32_t i = 0; i < n; ++i) (held[i] ? out : rest).prompts.push_back(std::move(all.prompts[i]));
  for (Prompts* part : {&out, &rest}) {
    part->report.tokens = 0;
    for (const Prompt& prompt : part->prompts) part->report.tokens += static_cast<std::int64_t>(prompt.ids.size());
    part->report.documents = part->report.examples = static_cast<std::int64_t>(part->prompts.size());
  }
  all = std::move(rest);
  return out;
}

}  // namespace lowrank::data
