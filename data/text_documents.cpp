#include "lowrank/data/text_documents.h"

#include <algorithm>

#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

constexpr std::string_view kBom = "\xef\xbb\xbf";
constexpr std::string_view kReplacement = "\xef\xbf\xbd";
constexpr std::string_view kSeparator = "<|endoftext|>";

std::int64_t count_replacements(std::string_view text) {
  std::int64_t n = 0;
  for (std::size_t at = text.find(kReplacement); at != text.npos; at = text.find(kReplacement, at + 3)) ++n;
  return n;
}

void carriage_returns_to_newlines(std::string& text) {
  std::size_t out = 0;
  for (std::size_t in = 0; in < text.size(); ++in) {
    const bool crlf = text[in] == '\r' && in + 1 < text.size() && text[in + 1] == '\n';
    text[out++] = text[in] == '\r' ? '\n' : text[in];
    in += crlf;
  }
  text.resize(out);
}

}  // namespace

CleanText clean_text(std::string raw) {
  CleanText clean;
  clean.text = std::move(raw);
  clean.had_bom = clean.text.starts_with(kBom);
  if (clean.had_bom) clean.text.erase(0, kBom.size());
  if (core::find_invalid_utf8(clean.text) != std::string::npos) {
    std::string valid = core::replace_invalid_utf8(clean.text);
    const std::int64_t replacements = count_replacements(valid) - count_replacements(clean.text);
    clean.replaced_bytes =
        static_cast<std::int64_t>(clean.text.size()) - static_cast<std::int64_t>(valid.size()) + 3 * replacements;
    clean.text = std::move(valid);
  }
  clean.had_cr = clean.text.find('\r') != std::string::npos;
  if (clean.had_cr) carriage_returns_to_newlines(clean.text);
  return clean;
}

std::vector<TextPart> split_documents(std::string_view text) {
  std::vector<TextPart> parts;
  std::size_t document = 0;  // where the current one begins
  std::int64_t line = 1, document_line = 1;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::size_t after = std::min(end + 1, text.size());
    if (text.substr(at, end - at) == kSeparator) {
      const std::size_t newline_before = at > document ? 1 : 0;
      parts.push_back({text.substr(document, at - newline_before - document), document_line});
      document = after;
      document_line = line + 1;
    }
    at = after;
    ++line;
  }
  parts.push_back({text.substr(document), document_line});
  return parts;
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\n\r\f\v") == text.npos; }

}  // namespace lowrank::data
