#include "lowrank/data/json_faults.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/core/json_row.h"
#include "lowrank/core/number.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";
/// Stands at the beginning of texts that take the place of faults while the row is parsed: a code point that is no
/// character.
constexpr std::string_view kMark = "\xef\xb7\x90lowrank fault ";

bool hex4(std::string_view text, std::size_t at, unsigned& value) {
  if (at + 4 > text.size()) return false;
  const char* const end = text.data() + at + 4;
  return std::from_chars(text.data() + at, end, value, 16).ptr == end && text[at] != '-';
}

/// The length of the bad escape at the backslash text[at], 0 where it is a good one. JSON has escapes that are no text:
/// half of a surrogate pair, NUL.
std::size_t bad_escape(std::string_view text, std::size_t at, std::string& what) {
  unsigned code = 0, second = 0;
  if (at + 1 >= text.size() || text[at + 1] != 'u' || !hex4(text, at + 2, code)) return 0;
  if (code == 0) {
    what = "the escape \\u0000 (a NUL character), which is no text";
    return 6;
  }
  if (code < 0xd800 || code > 0xdfff) return 0;
  const bool pair = code < 0xdc00 && text.substr(at + 6).starts_with("\\u") && hex4(text, at + 8, second) &&
                    second >= 0xdc00 && second <= 0xdfff;
  if (pair) return 0;
  what = "half of a surrogate pair (" + std::string(text.substr(at, 6)) + "), which is no character";
  return 6;
}

/// How many bytes the escape at text[at] has; those of a pair of surrogates together.
std::size_t escape_length(std::string_view text, std::size_t at) {
  unsigned code = 0;
  if (at + 1 >= text.size()) return 1;
  if (text[at + 1] != 'u' || !hex4(text, at + 2, code)) return 2;
  return code >= 0xd800 && code < 0xdc00 ? 12 : 6;
}

bool has_fault(std::string_view text) {
  std::string what;
  for (std::size_t at = text.find('\\'); at < text.size(); at = text.find('\\', at)) {
    if (bad_escape(text, at, what) > 0) return true;
    at += escape_length(text, at);
  }
  return text.find('\0') != text.npos || core::find_invalid_utf8(text) != text.npos;
}

/// What stands in a text in place of each fault: the number of it in `faults`.
class Mender {
 public:
  explicit Mender(std::string_view text) : text_(text) {}

  std::string mended() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        take_string();
      } else if ((c >= '0' && c <= '9') || c == '-' || c == 'N' || c == 'I') {
        take_number();
      } else {
        out_ += c;
        ++at_;
      }
    }
    return std::move(out_);
  }

  /// Puts the faults back, each as a value of its own kind.
  void put_back(core::Json& value) const {
    if (value.is_string()) {
      const auto& text = value.get_ref<const std::string&>();
      if (!text.starts_with(kMark)) return;
      std::size_t n = 0;
      std::from_chars(text.data() + kMark.size(), text.data() + text.size(), n);
      if (n < faults_.size()) value = core::Json(faults_[n]);
    } else if (value.is_structured()) {
      for (core::Json& child : value) put_back(child);
    }
  }

 private:
  void put(core::Json fault) {
    out_ += '"';
    out_ += kMark;
    out_ += std::to_string(faults_.size()) + '"';
    faults_.push_back(std::move(fault));
  }

  void take_string() {
    const std::size_t begin = at_++;
    std::string good = "\"", what;
    for (; at_ < text_.size() && text_[at_] != '"';) {
      std::size_t bad = 0;
      std::size_t length = 1;
      if (text_[at_] == '\\') {
        bad = bad_escape(text_, at_, what);
        length = std::min(escape_length(text_, at_), text_.size() - at_);
      } else if (text_[at_] == '\0') {
        what = "a NUL byte, which is no text";
        bad = 1;
      } else if (static_cast<unsigned char>(text_[at_]) >= 0x80) {
        const std::string_view rest = text_.substr(at_, 4);
        const std::size_t invalid = core::find_invalid_utf8(rest);
        if (invalid == 0) {
          what = "bytes that are no UTF-8 (" + core::printable(rest.substr(0, 1)) + ")";
          bad = 1;
        } else {
          while (length < rest.size() && (static_cast<unsigned char>(rest[length]) & 0xc0) == 0x80) ++length;
        }
      }
      good += bad > 0 ? kReplacement : text_.substr(at_, length);
      at_ += bad > 0 ? bad : length;
    }
    const bool closed = at_ < text_.size();
    if (closed) ++at_;
    std::size_t after = at_;
    while (after < text_.size() && (text_[after] == ' ' || text_[after] == '\t')) ++after;
    const bool key = after < text_.size() && text_[after] == ':';
    if (what.empty()) {
      out_ += text_.substr(begin, at_ - begin);
    } else if (key || !closed) {
      out_ += good + (closed ? "\"" : "");
    } else {
      put(core::faulty_value(what));
    }
  }

  void take_number() {
    std::size_t end = at_;
    while (end < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[end])) != 0 || text_[end] == '+' ||
                                  text_[end] == '-' || text_[end] == '.')) {
      ++end;
    }
    const std::string_view token = text_.substr(at_, end - at_);
    double value = 0;
    const auto [stop, error] = std::from_chars(token.data(), token.data() + token.size(), value);
    const double infinity = std::numeric_limits<double>::infinity();
    if (token == "NaN") {
      put(std::numeric_limits<double>::quiet_NaN());
    } else if (token == "Infinity" || token == "-Infinity") {
      put(token.front() == '-' ? -infinity : infinity);
    } else if (error == std::errc::result_out_of_range && stop == token.data() + token.size() &&
               std::isinf(core::read_double(std::string(token)))) {
      put(token.front() == '-' ? -infinity : infinity);
    } else {
      out_ += token;
    }
    at_ = end;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
  std::vector<core::Json> faults_;
};

core::Json parse(std::string_view text, const std::string& where) {
  try {
    return core::parse_json_row(text, where);
  } catch (const FormatError& e) {
    throw DataError(e.what());
  }
}

core::Json parse_mended(std::string_view text, const std::string& where) {
  Mender mender(text);
  core::Json row = parse(mender.mended(), where);
  mender.put_back(row);
  return row;
}

}  // namespace

core::Json parse_row(std::string_view text, const std::string& where) {
  if (has_fault(text)) return parse_mended(text, where);
  try {
    return core::parse_json_row(text, where);
  } catch (const FormatError& e) {
    const std::string_view problem = e.what();
    const bool number = problem.find("NaN") != problem.npos || problem.find("too large for a double") != problem.npos;
    if (!number) throw DataError(e.what());
  }
  return parse_mended(text, where);
}

core::Json without_faults(core::Json row, bool& changed) {
  const bool fault = row.is_binary() || (row.is_number_float() && !std::isfinite(row.get<double>()));
  changed = changed || fault;
  if (fault) return nullptr;
  if (row.is_structured()) {
    for (core::Json& child : row) child = without_faults(std::move(child), changed);
  }
  return row;
}

}  // namespace lowrank::data
