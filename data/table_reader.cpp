#include "lowrank/data/table_reader.h"

#include <algorithm>
#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/line_reader.h"

namespace lowrank::data {
namespace {

constexpr std::string_view kSeparators = ",;\t|";

/// Of the first line, outside of quotes.
char separator_of(std::string_view head) {
  std::int64_t best = 0;
  char found = ',';
  for (const char separator : kSeparators) {
    std::int64_t n = 0;
    bool quoted = false;
    for (const char c : head) {
      if (c == '"') quoted = !quoted;
      if (c == '\n' && !quoted) break;
      n += c == separator && !quoted ? 1 : 0;
    }
    if (n > best) {
      best = n;
      found = separator;
    }
  }
  return found;
}

/// Takes "sep=;" and its line end off, which spreadsheets write and obey.
char named_separator(std::string& head) {
  const std::size_t end = head.find('\n');
  if (!head.starts_with("sep=") || end == head.npos || end < 5 || end > 6) return 0;
  const char separator = head[4];
  head.erase(0, end + 1);
  return separator;
}

}  // namespace

std::string separator_name(char separator) {
  switch (separator) {
    case ',':
      return "comma";
    case ';':
      return "semicolon";
    case '\t':
      return "tab";
    default:
      return std::string("'") + separator + "'";
  }
}

TableReader::TableReader(const core::FileRef& file, char separator)
    : stream_(file), begin_(stream_.next()), separator_(separator), chars_(stream_, [&] {
        const char named = named_separator(begin_);
        if (separator_ == 0) separator_ = named != 0 ? named : separator_of(begin_);
        return begin_;
      }()) {}

TextFacts TableReader::facts() const {
  TextFacts facts = stream_.facts();
  facts.had_crlf = chars_.had_crlf();
  return facts;
}

void TableReader::take_quoted(std::string& field) {
  chars_.take();
  while (true) {
    const int c = chars_.take();
    if (c < 0) throw DataError(where() + ": a quote is never closed");
    if (c == '"') {
      if (chars_.peek() != '"') break;
      chars_.take();
    }
    field += static_cast<char>(c);
    if (++record_bytes_ > LineReader::kMaxLine) {
      throw DataError(where() + ": the row is longer than " + core::format_bytes(LineReader::kMaxLine) +
                      "; a quote may be missing");
    }
  }
  int after = chars_.peek();
  if (after == '\r') {
    chars_.take();
    after = chars_.peek();
  }
  if (after >= 0 && after != separator_ && after != '\n') {
    throw DataError(where() + ": text follows a closing quote; a quote inside of a field is written twice");
  }
}

void TableReader::take_field(std::string& field) {
  if (chars_.peek() == '"') {
    take_quoted(field);
    return;
  }
  for (int c = chars_.peek(); c >= 0 && c != separator_ && c != '\n'; c = chars_.peek()) {
    field += static_cast<char>(chars_.take());
    if (++record_bytes_ > LineReader::kMaxLine) {
      throw DataError(where() + ": the row is longer than " + core::format_bytes(LineReader::kMaxLine));
    }
  }
  if (field.ends_with('\r') && chars_.peek() != separator_) field.pop_back();
}

bool TableReader::next(std::vector<std::string>& fields) {
  while (chars_.peek() >= 0) {
    fields.clear();
    record_bytes_ = 0;
    line_ = chars_.line();
    const bool quoted = chars_.peek() == '"';
    bool more = true;
    while (more) {
      fields.emplace_back();
      take_field(fields.back());
      more = chars_.peek() == separator_;
      if (more) chars_.take();
    }
    chars_.take();  // the line's end
    const bool blank = fields.size() == 1 && !quoted && fields[0].find_first_not_of(" \t\r") == std::string::npos;
    if (!blank) return true;
  }
  return false;
}

}  // namespace lowrank::data
