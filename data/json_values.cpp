#include "lowrank/data/json_values.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/line_reader.h"

namespace lowrank::data {
namespace {

constexpr std::string_view kBlank = " \t\r\n";
/// Keys that hold the rows of a file that is one object.
constexpr std::array<std::string_view, 9> kWrappers = {"data",    "rows",      "examples", "records", "items",
                                                       "samples", "instances", "dataset",  "train"};

/// Keys of rows: an object that has one of them is a row.
constexpr std::array<std::string_view, 16> kRowKeys = {
    "text",     "prompt",        "completion",   "instruction", "output", "question", "answer", "messages",
    "chosen",   "conversations", "conversation", "dialog",      "label",  "labels",   "input",  "rejected"};

/// Where the value that begins at `at` ends: past its last character, npos where the text ends before. Strings are
/// passed over; whether brackets fit together is for the parser to say.
std::size_t end_of_value(std::string_view text, std::size_t at) {
  int depth = 0;
  for (bool quoted = false; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c == '\\') {
        ++at;
      } else if (c == '"') {
        quoted = false;
        if (depth == 0) return at + 1;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    } else if (depth == 0 && (c == ',' || kBlank.find(c) != kBlank.npos)) {
      return at;
    }
  }
  return std::string_view::npos;
}

std::size_t skip(std::string_view text, std::size_t at) {
  return at == text.npos ? at : text.find_first_not_of(kBlank, at);
}

bool is_at(std::string_view text, std::size_t at, char c) { return at < text.size() && text[at] == c; }

/// The keys of the object at `at`, as far as it is there, and where their values begin.
template <class See>
void each_key(std::string_view text, std::size_t at, const See& see) {
  at = skip(text, at + 1);
  while (is_at(text, at, '"')) {
    const std::size_t end = end_of_value(text, at);
    const std::size_t colon = skip(text, end);
    if (!is_at(text, colon, ':')) return;
    const std::size_t value = skip(text, colon + 1);
    if (value == text.npos || !see(text.substr(at + 1, end - at - 2), value)) return;
    const std::size_t comma = skip(text, end_of_value(text, value));
    if (!is_at(text, comma, ',')) return;
    at = skip(text, comma + 1);
  }
}

/// The key of kWrappers that holds an array of objects or arrays in the object at `at`; empty where a key of a row stands
/// before it, or none.
std::string wrapper_key(std::string_view text, std::size_t at) {
  std::string found;
  each_key(text, at, [&](std::string_view key, std::size_t value) {
    const std::size_t first = is_at(text, value, '[') ? skip(text, value + 1) : text.npos;
    if (std::find(kRowKeys.begin(), kRowKeys.end(), key) != kRowKeys.end()) return false;
    const bool rows = is_at(text, first, '{') || is_at(text, first, '[');
    if (rows && std::find(kWrappers.begin(), kWrappers.end(), key) != kWrappers.end()) found = key;
    return found.empty();
  });
  return found;
}

/// Whether the object at `at` is a turn of a conversation, and no row.
bool is_turn(std::string_view text, std::size_t at) {
  bool speaker = false, content = false;
  if (!is_at(text, at, '{')) return false;
  each_key(text, at, [&](std::string_view key, std::size_t) {
    speaker = speaker || key == "role" || key == "from";
    content = content || key == "content" || key == "value";
    return true;
  });
  return speaker && content;
}

}  // namespace

JsonForm json_form(std::string_view head, bool whole) {
  const std::size_t at = skip(head, 0);
  if (!is_at(head, at, '{') && !is_at(head, at, '[')) return {};
  const std::size_t end = end_of_value(head, at);
  const bool closed = end != head.npos;
  const bool one_line = head.substr(at, closed ? end - at : head.npos).find('\n') == head.npos;
  const bool alone = closed ? whole && skip(head, end) == head.npos : true;
  if (head[at] == '{') {
    const std::string key = alone ? wrapper_key(head, at) : "";
    if (!key.empty()) return {JsonLayout::kWrapped, key};
    // Objects that no line's end parts, or one of an old Mac, or a comma.
    const std::size_t next = closed ? head.find_first_not_of(" \t\r", end) : head.npos;
    const bool joined = is_at(head, next, '{') || is_at(head, next, ',');
    return {one_line && !joined ? JsonLayout::kLines : JsonLayout::kValues, ""};
  }
  if (closed && !alone && one_line) return {};  // each line a list of turns
  if (closed && alone && is_turn(head, skip(head, at + 1))) {
    return {one_line ? JsonLayout::kLines : JsonLayout::kValues, ""};
  }
  return {JsonLayout::kArray, ""};
}

JsonValues::JsonValues(TextStream& stream, std::string begin, JsonForm form)
    : chars_(stream, std::move(begin)), form_(std::move(form)) {}

std::string JsonValues::where() const {
  return chars_.name() + (form_.layout == JsonLayout::kValues ? " line " + std::to_string(row_line_)
                                                               : " row " + std::to_string(row_));
}

void JsonValues::fail(const std::string& problem) const {
  throw DataError(chars_.name() + ": not valid JSON at line " + std::to_string(chars_.line()) + ": " + problem);
}

void JsonValues::cut_off() const {
  fail("the file ends " + (row_ == 0 ? std::string("before its first row is complete")
                                     : "inside of row " + std::to_string(row_) + " or after it") +
       "; it was cut off, or a bracket is missing");
}

int JsonValues::after_blanks() {
  int c = chars_.peek();
  while (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
    chars_.take();
    c = chars_.peek();
  }
  return c;
}

/// Into value_, as end_of_value finds its end.
void JsonValues::take_value(const std::string& what) {
  value_.clear();
  int depth = 0;
  bool quoted = false, escaped = false;
  for (int c = chars_.peek(); c >= 0; c = chars_.peek()) {
    const bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    const bool closes = c == '}' || c == ']';
    if (!quoted && depth == 0 && !value_.empty() && (c == ',' || closes || blank || c == ':')) return;
    if (!quoted && depth == 0 && (c == ',' || closes || c == ':')) break;
    chars_.take();
    value_ += static_cast<char>(c);
    if (value_.size() > LineReader::kMaxLine) {
      fail(what + " is longer than " + core::format_bytes(LineReader::kMaxLine));
    }
    if (quoted) {
      quoted = escaped || c != '"';
      escaped = !escaped && c == '\\';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
      continue;
    } else if (closes) {
      --depth;
    } else {
      continue;
    }
    if (!quoted && depth == 0) return;
  }
  if (chars_.peek() < 0) {
    // Outside of brackets and strings the end of the file ends a value too.
    if (!value_.empty() && !quoted && depth == 0) return;
    cut_off();
  }
  fail("expected " + what + ", found '" + std::string(1, static_cast<char>(chars_.peek())) + "'");
}

/// A key and, unless the rows stand there, its value.
void JsonValues::take_member(bool& is_rows) {
  after_blanks();
  take_value("a key");
  const std::string key = value_.size() > 1 ? value_.substr(1, value_.size() - 2) : value_;
  if (after_blanks() != ':') fail("expected ':' after the key " + core::printable(value_, 40));
  chars_.take();
  is_rows = key == form_.key && after_blanks() == '[' && state_ == State::kBegin;
  if (is_rows) return;
  after_blanks();
  take_value("a value");
  other_keys_.push_back(core::printable(key, 40));
}

bool JsonValues::begin_wrapped() {
  chars_.take();
  for (bool is_rows = false; true;) {
    take_member(is_rows);
    if (is_rows) return true;
    if (after_blanks() != ',') return false;
    chars_.take();
  }
}

void JsonValues::end_wrapped() {
  while (after_blanks() == ',') {
    chars_.take();
    bool unused = false;
    take_member(unused);
  }
  if (after_blanks() < 0) cut_off();
  if (chars_.take() != '}') fail("expected '}' after the rows");
}

void JsonValues::expect_end() {
  if (after_blanks() >= 0) fail("more follows after the array of rows; expected the end of the file");
}

bool JsonValues::next(std::string_view& value) {
  if (state_ == State::kDone) return false;
  int c = after_blanks();
  if (form_.layout == JsonLayout::kValues) {
    if (c == ',' && row_ > 0) {
      chars_.take();
      c = after_blanks();
    }
    if (c < 0) return false;
  } else {
    if (state_ == State::kBegin) {
      if (form_.layout == JsonLayout::kWrapped && !begin_wrapped()) fail("no rows");
      chars_.take();  // '['
      state_ = State::kRows;
      c = after_blanks();
    } else if (c == ',') {
      chars_.take();
      c = after_blanks();
      if (c == ']') fail("a comma is followed by no row");
    } else if (c >= 0 && c != ']') {
      fail("expected ',' or ']' after row " + std::to_string(row_));
    }
    if (c < 0) cut_off();
    if (c == ']') {
      chars_.take();
      if (form_.layout == JsonLayout::kWrapped) end_wrapped();
      expect_end();
      state_ = State::kDone;
      return false;
    }
  }
  row_line_ = chars_.line();
  ++row_;
  take_value("a row");
  value = value_;
  return true;
}

}  // namespace lowrank::data
