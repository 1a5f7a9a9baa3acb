#include "lowrank/data/text_documents.h"

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/text_stream.h"

namespace lowrank::data {
namespace {

constexpr std::string_view kBom = "\xef\xbb\xbf";
constexpr std::string_view kReplacement = "\xef\xbf\xbd";
constexpr std::string_view kSeparator = "<|endoftext|>";
constexpr std::uint64_t kMostText = std::uint64_t{1} << 32;  // bytes of a document

std::int64_t count_replacements(std::string_view text) {
  std::int64_t n = 0;
  for (std::size_t at = text.find(kReplacement); at != text.npos; at = text.find(kReplacement, at + 3)) ++n;
  return n;
}

[[noreturn]] void too_long(const std::string& name) {
  throw DataError(name + " has more than the " + core::format_bytes(kMostText) +
                  " of text that are read as one document; part it by lines of <|endoftext|>");
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

CleanText read_clean_text(const core::FileRef& file) {
  TextStream stream(file);
  std::string raw;
  for (std::string_view more = stream.next(); !more.empty(); more = stream.next()) {
    raw += more;
    if (raw.size() > kMostText) too_long(stream.name());
  }
  CleanText clean = clean_text(std::move(raw));
  clean.had_bom = stream.facts().had_bom;
  clean.note = encoding_note(file, stream.facts());
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

namespace {

/// The documents of clean text that comes in stretches of whole lines.
class DocumentLines {
 public:
  explicit DocumentLines(const SeeDocument& see) : see_(see) {}

  void add(std::string_view text, std::uint64_t position) {
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      const std::size_t after = std::min(end + 1, text.size());
      if (text.substr(at, end - at) == kSeparator) {
        if (!document_.empty()) document_.pop_back();  // the newline before it
        give(false, position);
        begun_at_ = line_ + 1;
      } else {
        document_ += text.substr(at, after - at);
      }
      at = after;
      ++line_;
    }
  }
  void finish(std::uint64_t position) { give(parts_ == 0, position); }
  std::size_t size() const { return document_.size(); }

 private:
  void give(bool only, std::uint64_t position) {
    ++parts_;
    see_(std::move(document_), begun_at_, only, position);
    document_.clear();
  }

  const SeeDocument& see_;
  std::string document_;
  std::int64_t line_ = 1, begun_at_ = 1, parts_ = 0;
};

}  // namespace

CleanText for_each_document(const core::FileRef& file, const SeeDocument& see) {
  TextStream stream(file);
  CleanText found;
  DocumentLines lines(see);
  std::string raw;
  bool first = true;
  const auto take = [&](std::string stretch) {
    CleanText clean = clean_text(std::move(stretch));
    if (clean.had_bom && !first) clean.text.insert(0, kBom);  // in the middle it is a character
    first = false;
    found.had_cr = found.had_cr || clean.had_cr;
    found.replaced_bytes += clean.replaced_bytes;
    lines.add(clean.text, stream.position());
    if (lines.size() > kMostText) too_long(stream.name());
  };
  for (std::string_view more = stream.next(); !more.empty(); more = stream.next()) {
    raw += more;
    if (raw.size() > kMostText) too_long(stream.name());
    const std::size_t end = raw.rfind('\n');  // what stands before it are whole lines and characters
    if (end == raw.npos) continue;
    std::string rest = raw.substr(end + 1);
    raw.resize(end + 1);
    take(std::exchange(raw, std::move(rest)));
  }
  if (!raw.empty()) take(std::move(raw));
  lines.finish(stream.position());
  found.had_bom = stream.facts().had_bom;
  found.note = encoding_note(file, stream.facts());
  return found;
}

bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\n\r\f\v") == text.npos; }

}  // namespace lowrank::data
