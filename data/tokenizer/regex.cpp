#include "lowrank/data/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <new>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

namespace {

constexpr std::size_t kMaxPatternBytes = 1 << 16;
constexpr std::size_t kMaxJitStack = std::size_t{8} << 20;

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What a match needs beside the compiled pattern; one for each thread, as PCRE2 asks.
struct Scratch {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(std::size_t{32} << 10, kMaxJitStack, nullptr);
  Scratch() {
    if (data == nullptr || context == nullptr) throw std::bad_alloc();
    pcre2_jit_stack_assign(context, nullptr, stack);  // a null stack is the machine's own 32 KiB
    pcre2_set_heap_limit(context, 256 * 1024);        // KiB
    pcre2_set_depth_limit(context, 10'000'000);
  }
  ~Scratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

}  // namespace

Regex::Regex(std::string_view pattern, const std::string& where) : where_(where) {
  if (pattern.size() > kMaxPatternBytes) {
    throw FormatError(fmt::format("{}: a regular expression of {} bytes, more than the {} that are accepted", where,
                                  pattern.size(), kMaxPatternBytes));
  }
  const std::string translated = oniguruma_to_pcre2(pattern, where);
  int error = 0;
  PCRE2_SIZE offset = 0;
  std::shared_ptr<pcre2_compile_context> context(pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &offset, context.get());
  if (code == nullptr) {
    throw FormatError(fmt::format("{}: the regular expression '{}' does not compile: {}", where,
                                  core::printable(pattern), pcre2_message(error)));
  }
  code_ = std::shared_ptr<const void>(
      code, [](const void* c) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(c))); });
  std::uint32_t matches_empty = 0;
  pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty != 0) {
    throw FormatError(fmt::format("{}: the regular expression '{}' can match the empty string, which splits nowhere",
                                  where, core::printable(pattern)));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where this is not possible, the interpreter gives the same matches
}

void Regex::find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data() + within.begin);
  const std::size_t length = within.end - within.begin;
  Scratch& s = scratch();
  // Enough for a pattern that walks to the end and back some times, far too little for one that explodes.
  pcre2_set_match_limit(s.context,
                        static_cast<std::uint32_t>(std::min<std::size_t>(100'000 + 64 * length, 2'000'000'000)));
  std::size_t from = 0;
  while (from < length) {
    // The text is valid UTF-8; checking it again at every match would be quadratic.
    const int rc = pcre2_match(code, subject, length, from, PCRE2_NO_UTF_CHECK, s.data, s.context);
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0) {
      throw DataError(
          fmt::format("{}: the regular expression gave up on a text of {} bytes ({}); it backtracks too much", where_,
                      length, pcre2_message(rc)));
    }
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(s.data);
    if (found[1] <= found[0] || found[0] < from) {
      throw DataError(fmt::format("{}: the regular expression matched the empty string", where_));
    }
    matches.push_back({within.begin + found[0], within.begin + found[1]});
    from = found[1];
  }
}

}  // namespace lowrank::data
