#define PCRE2_CODE_UNIT_WIDTH 8
#include "lowrank/data/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <new>

namespace lowrank::data {

namespace {

constexpr std::size_t kMaxJitStack = std::size_t{8} << 20;
constexpr std::uint32_t kHeapLimitKiB = 256 * 1024;  // of the interpreter, where there is no JIT

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

// What a match needs beside the compiled pattern; one for each thread, as PCRE2 asks.
class Scratch {
 public:
  Scratch() : context_(pcre2_match_context_create(nullptr)) {
    if (context_ == nullptr) throw std::bad_alloc();
    stack_ = pcre2_jit_stack_create(std::size_t{32} << 10, kMaxJitStack, nullptr);
    pcre2_jit_stack_assign(context_, nullptr, stack_);  // a null stack is the machine's own 32 KiB
    pcre2_set_heap_limit(context_, kHeapLimitKiB);
    pcre2_set_depth_limit(context_, 10'000'000);
  }
  ~Scratch() {
    pcre2_match_data_free(data_);
    pcre2_jit_stack_free(stack_);
    pcre2_match_context_free(context_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  pcre2_match_context* context(std::uint32_t steps) {
    pcre2_set_match_limit(context_, steps);
    return context_;
  }
  pcre2_match_data* data(std::size_t pairs) {
    if (pairs > pairs_) {
      pcre2_match_data_free(data_);
      pairs_ = 0;
      data_ = pcre2_match_data_create(static_cast<std::uint32_t>(pairs), nullptr);
      if (data_ == nullptr) throw std::bad_alloc();
      pairs_ = pairs;
    }
    return data_;
  }

 private:
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_ = nullptr;
  pcre2_match_data* data_ = nullptr;
  std::size_t pairs_ = 0;
};

Scratch& scratch() {
  thread_local Scratch instance;
  return instance;
}

// The number of groups, with the whole match, that were filled; 0 without a match, negative for an error.
int run(const void* code, std::string_view text, std::size_t from, std::uint32_t steps, std::size_t pairs) {
  Scratch& s = scratch();
  // Checking the text's UTF-8 again at every match would be quadratic; callers have done it.
  const int rc = pcre2_match(static_cast<const pcre2_code*>(code), reinterpret_cast<PCRE2_SPTR>(text.data()),
                             text.size(), from, PCRE2_NO_UTF_CHECK, s.data(pairs), s.context(steps));
  return rc == PCRE2_ERROR_NOMATCH ? 0 : rc == 0 ? static_cast<int>(pairs) : rc;
}

}  // namespace

std::optional<Regex> Regex::compile(std::string_view pattern, const Options& options, std::string& problem) {
  std::uint32_t flags = PCRE2_NEVER_BACKSLASH_C;
  if (options.unicode) flags |= PCRE2_UTF | PCRE2_UCP;
  if (options.anchored) flags |= PCRE2_ANCHORED;
  if (options.end_anchored) flags |= PCRE2_ENDANCHORED;
  int error = 0;
  PCRE2_SIZE offset = 0;
  std::shared_ptr<pcre2_compile_context> context(pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), flags, &error, &offset,
                                   context.get());
  if (code == nullptr) {
    problem = fmt::format("{} at character {}", pcre2_message(error), offset + 1);
    return std::nullopt;
  }
  Regex regex;
  regex.code_ = std::shared_ptr<const void>(
      code, [](const void* c) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(c))); });
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where this is not possible, the interpreter gives the same matches
  return regex;
}

bool Regex::matches_empty() const {
  std::uint32_t empty = 0;
  pcre2_pattern_info(static_cast<const pcre2_code*>(code_.get()), PCRE2_INFO_MATCHEMPTY, &empty);
  return empty != 0;
}

int Regex::group(const char* name) const {
  const int number =
      pcre2_substring_number_from_name(static_cast<const pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(name));
  return number > 0 ? number : -1;
}

Regex::Outcome Regex::find(std::string_view text, std::size_t from, std::uint32_t steps,
                           std::span<std::optional<ByteRange>> groups, std::string& problem) const {
  const int found = run(code_.get(), text, from, steps, std::max<std::size_t>(groups.size(), 1));
  if (found < 0) problem = pcre2_message(found);
  if (found <= 0) return found < 0 ? Outcome::kGaveUp : Outcome::kNotFound;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch().data(0));
  for (std::size_t i = 0; i < groups.size(); ++i) {
    groups[i].reset();
    if (static_cast<int>(i) < found && ends[2 * i] != PCRE2_UNSET) groups[i] = {ends[2 * i], ends[2 * i + 1]};
  }
  return Outcome::kFound;
}

Regex::Outcome Regex::find(std::string_view text, std::size_t from, std::uint32_t steps, ByteRange& match,
                           std::string& problem) const {
  const int found = run(code_.get(), text, from, steps, 1);
  if (found < 0) problem = pcre2_message(found);
  if (found <= 0) return found < 0 ? Outcome::kGaveUp : Outcome::kNotFound;
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch().data(0));
  match = {ends[0], ends[1]};
  return Outcome::kFound;
}

}  // namespace lowrank::data
