#include "lowrank/eval/extract.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <new>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::eval {
namespace {

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

bool digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

Extractor::Extractor(const std::string& pattern) : pattern_(pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr);
  if (code == nullptr) {
    throw ConfigError(fmt::format("the pattern '{}' is not a regular expression: {} at character {}",
                                  core::printable(pattern), pcre2_message(error), offset + 1));
  }
  code_ = std::shared_ptr<const void>(
      code, [](const void* c) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(c))); });
}

std::optional<std::string> Extractor::operator()(std::string_view raw) const {
  const std::string text = core::replace_invalid_utf8(raw);
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::shared_ptr<pcre2_match_data> data(pcre2_match_data_create_from_pattern(code, nullptr),
                                               pcre2_match_data_free);
  const std::shared_ptr<pcre2_match_context> context(pcre2_match_context_create(nullptr), pcre2_match_context_free);
  if (data == nullptr || context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), 1'000'000);
  pcre2_set_heap_limit(context.get(), 64 * 1024);  // KiB
  const int found =
      pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data.get(), context.get());
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) {
    throw DataError(fmt::format("the pattern '{}' gave up on a text of {} bytes: {}", core::printable(pattern_),
                                text.size(), pcre2_message(found)));
  }
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
  const int group = found > 1 && range[2] != PCRE2_UNSET ? 1 : 0;
  return text.substr(range[2 * group], range[2 * group + 1] - range[2 * group]);
}

std::string comparable_answer(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return "";
  text = text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  if (text.size() > 1 && text.back() == '.') text.remove_suffix(1);
  std::string answer;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool thousands = text[i] == ',' && i > 0 && i + 1 < text.size() && digit(text[i - 1]) && digit(text[i + 1]);
    if (!thousands) answer += text[i];
  }
  return answer;
}

}  // namespace lowrank::eval
