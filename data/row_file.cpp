#include "lowrank/data/row_file.h"

#include <string_view>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/data/line_reader.h"
#include "lowrank/data/sniff.h"
#include "lowrank/data/text_documents.h"

namespace lowrank::data {
namespace {

constexpr std::string_view kBom = "\xef\xbb\xbf";

bool hex4(std::string_view text, std::size_t at, unsigned& value) {
  if (at + 4 > text.size()) return false;
  value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
    if (digit < 0) return false;
    value = value * 16 + static_cast<unsigned>(digit);
  }
  return true;
}

/// Escapes that are JSON but no text: half of a surrogate pair, or NUL. Nullptr when there is none.
const char* bad_escape(std::string_view json) {
  for (std::size_t i = 0; i + 1 < json.size(); ++i) {
    if (json[i] != '\\') continue;
    const std::size_t escape = i++;  // what follows a backslash is never itself the beginning of an escape
    unsigned code = 0, second = 0;
    if (json[i] != 'u' || !hex4(json, i + 1, code)) continue;
    if (code == 0) return "the escape \\u0000 (a NUL character), which is no text";
    if (code < 0xd800 || code > 0xdfff) continue;
    const bool pair = code < 0xdc00 && json.substr(escape + 6).starts_with("\\u") && hex4(json, escape + 8, second) &&
                      second >= 0xdc00 && second <= 0xdfff;
    if (!pair) return "a lone surrogate escape (\\ud800 … \\udfff), which is no character";
    i = escape + 11;
  }
  return nullptr;
}

[[noreturn]] void no_rows(const std::filesystem::path& file, bool blank) {
  throw DataError(file.string() + (blank ? " holds no rows" : " is empty") + "; expected one JSON object a line");
}

RowFileFacts rows_of_lines(const std::filesystem::path& file,
                           const std::function<void(const core::JsonView&, std::uint64_t)>& row) {
  LineReader reader(file);
  std::string_view line;
  bool any = false;
  while (reader.next(line)) {
    if (is_blank(line)) continue;
    any = true;
    const std::string where = file.string() + " line " + std::to_string(reader.line_number());
    const core::Json json = parse_row(line, where);
    row({json, where}, reader.bytes_read());
  }
  if (!any) no_rows(file, reader.bytes_read() > 0);
  return {reader.had_bom(), reader.had_crlf()};
}

RowFileFacts rows_of_array(const std::filesystem::path& file, std::string_view text, RowFileFacts facts,
                           const std::function<void(const core::JsonView&, std::uint64_t)>& row) {
  const core::Json json = parse_row(text, file.string());
  if (json.empty()) no_rows(file, true);
  for (std::size_t i = 0; i < json.size(); ++i) {
    row({json[i], file.string() + " row " + std::to_string(i + 1)}, text.size() * (i + 1) / json.size());
  }
  return facts;
}

}  // namespace

core::Json parse_row(std::string_view text, const std::string& where) {
  if (text.find('\0') != text.npos) throw DataError(where + ": holds a NUL byte, expected JSON in UTF-8");
  if (const char* what = bad_escape(text)) throw DataError(where + ": holds " + what);
  try {
    return core::parse_json(text, where);
  } catch (const FormatError& e) {
    throw DataError(e.what());
  }
}

RowFileFacts for_each_row(const Source& source,
                          const std::function<void(const core::JsonView& row, std::uint64_t bytes_done)>& row) {
  if (source.kind == SourceKind::kJsonLines) return rows_of_lines(source.file, row);
  std::string raw;
  try {
    raw = core::read_file(source.file, core::JsonLimits{}.max_bytes);
  } catch (const FormatError& e) {
    throw DataError(std::string(e.what()) + "; a set of this size belongs in .jsonl, one row a line");
  }
  refuse_foreign_bytes(raw, source.file.string());
  std::string_view text = raw;
  RowFileFacts facts;
  facts.had_bom = text.starts_with(kBom);
  if (facts.had_bom) text.remove_prefix(kBom.size());
  facts.had_crlf = text.find("\r\n") != text.npos;
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) no_rows(source.file, !raw.empty());
  if (text[first] != '[') return rows_of_lines(source.file, row);  // JSON lines by another name
  return rows_of_array(source.file, text, facts, row);
}

}  // namespace lowrank::data
