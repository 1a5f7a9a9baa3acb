#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/data/row_file.h"
#include "lowrank/data/sources.h"
#include "lowrank/data/standard_input.h"
#include "lowrank/eval/questions.h"

namespace lowrank::eval {
namespace {

using core::JsonView;

const char* kind_name(QuestionKind kind) {
  switch (kind) {
    case QuestionKind::kChoice:
      return "multiple choice";
    case QuestionKind::kAnswer:
      return "question/answer";
    case QuestionKind::kText:
      return "prompt/reference";
  }
  return "";
}

QuestionKind kind_of(const JsonView& row) {
  if (!row.is_object())
    throw DataError(row.where() + ": a question is an object such as {\"question\", \"choices\", \"answer\"}");
  if (row.has("choices")) return QuestionKind::kChoice;
  if (row.has("question")) return QuestionKind::kAnswer;
  if (row.has("prompt")) return QuestionKind::kText;
  throw DataError(
      fmt::format("{}: expected the keys {{\"question\", \"choices\", \"answer\"}}, {{\"question\", \"answer\"}} or "
                  "{{\"prompt\", \"reference\"}}, found {}",
                  row.where(), core::printable(fmt::format("{}", fmt::join(row.keys(), ", ")))));
}

std::string text_at(const JsonView& row, const char* key) {
  if (!row.has_value(key)) throw DataError(fmt::format("{}: the row has no \"{}\"", row.where(), key));
  const JsonView value = row.at(key);
  if (!value.is_string()) throw DataError(fmt::format("{}: \"{}\" is no text", row.where(), key));
  std::string text = value.as_string();
  if (text.empty()) throw DataError(fmt::format("{}: \"{}\" is empty", row.where(), key));
  return text;
}

/// The layout in which question/answer rows are learned.
std::string with_newline(std::string question) {
  if (question.find_last_of(" \t\n") != question.size() - 1) question += '\n';
  return question;
}

std::size_t answer_index(const JsonView& row, const std::vector<std::string>& choices) {
  if (!row.has_value("answer")) throw DataError(row.where() + ": the row has no \"answer\"");
  const JsonView answer = row.at("answer");
  std::string found = core::json_text(answer.raw());
  if (answer.raw().is_number_integer()) {
    const auto index = answer.raw().get<std::int64_t>();
    if (index >= 0 && index < static_cast<std::int64_t>(choices.size())) return static_cast<std::size_t>(index);
  } else if (answer.is_string()) {
    found = answer.as_string();
    const auto it = std::find(choices.begin(), choices.end(), found);
    if (it != choices.end()) return static_cast<std::size_t>(it - choices.begin());
    if (found.size() == 1 && found[0] >= 'A' && found[0] - 'A' < static_cast<int>(choices.size())) {
      return static_cast<std::size_t>(found[0] - 'A');
    }
  }
  throw DataError(
      fmt::format("{}: the answer {} is none of the {} choices; give its index from 0, its letter, or its text",
                  row.where(), core::printable(found), choices.size()));
}

Question read_choice(const JsonView& row) {
  Question question{row.where(), with_newline(text_at(row, "question")), {}, 0, {}};
  const JsonView choices = row.at("choices");
  if (!choices.is_array() || choices.size() < 2)
    throw DataError(row.where() + ": \"choices\" is a list of at least two texts");
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (!choices.at(i).is_string() || choices.at(i).as_string().empty()) {
      throw DataError(fmt::format("{}: choice {} is no text, or an empty one", row.where(), i));
    }
    question.choices.push_back(choices.at(i).as_string());
  }
  question.answer = answer_index(row, question.choices);
  return question;
}

Question read_question(const JsonView& row, QuestionKind kind) {
  if (kind == QuestionKind::kChoice) return read_choice(row);
  if (kind == QuestionKind::kAnswer)
    return {row.where(), with_newline(text_at(row, "question")), {}, 0, text_at(row, "answer")};
  const char* key = row.has("reference") ? "reference" : "completion";
  return {row.where(), text_at(row, "prompt"), {}, 0, text_at(row, key)};
}

}  // namespace

QuestionSet read_questions(const std::vector<std::filesystem::path>& paths) {
  QuestionSet set;
  for (const data::Source& source : data::find_sources(paths, data::Format::kAuto, set.notes, {data::Part::kTest})) {
    if (source.kind == data::SourceKind::kText) {
      throw DataError(data::name_of(source.file) +
                      " is plain text, and questions are rows of a .jsonl or .json file; give it as `data`");
    }
    const data::RowFileFacts facts = data::for_each_row(source, [&](const JsonView& row, std::uint64_t) {
      const QuestionKind kind = kind_of(row);
      if (set.questions.empty()) set.kind = kind;
      if (kind != set.kind) {
        throw DataError(fmt::format("{}: a {} row in a set of {} rows; part them into sets of their own", row.where(),
                                    kind_name(kind), kind_name(set.kind)));
      }
      set.questions.push_back(read_question(row, kind));
    });
    set.notes.insert(set.notes.end(), facts.notes.begin(), facts.notes.end());
  }
  return set;
}

}  // namespace lowrank::eval
