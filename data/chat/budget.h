// What a template may use up: a template comes with a model, and may loop or grow for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace lowrank::data {

/// Bounds of one rendering, on the whole of it.
struct ChatLimits {
  std::uint64_t steps = 20'000'000;  // expressions and statements evaluated, and 64 bytes or items touched
  std::uint64_t value_bytes = 512ULL * 1'000'000;  // of all strings, lists and dicts that it makes, kept or not
  std::uint64_t output_bytes = 64ULL * 1'000'000;  // of the text
  int depth = 1000;                                // nesting of expressions, statements and calls together
};

namespace jinja {

/// A fault found while a template is read or rendered. ChatTemplate adds the template's name and line.
struct TemplateError : std::runtime_error {
  explicit TemplateError(const std::string& message) : std::runtime_error(message) {}
};

/// Values may not nest deeper than this: equality, printing and release of a value recurse.
constexpr int kMaxValueDepth = 200;

class Budget {
 public:
  explicit Budget(const ChatLimits& limits) : limits_(limits) {}

  void step(std::uint64_t n = 1) {
    steps_ += n;
    if (steps_ > limits_.steps) too_much("steps", limits_.steps);
  }
  /// Before the bytes are made.
  void bytes(std::uint64_t n) {
    bytes_ += n;
    if (bytes_ > limits_.value_bytes) too_much("bytes of values", limits_.value_bytes);
    step(n / 64);
  }
  void output(std::uint64_t size) const {
    if (size > limits_.output_bytes) too_much("bytes of text", limits_.output_bytes);
  }

  /// One level of nesting, for as long as it lives.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      if (++budget_.depth_ > budget_.limits_.depth) {
        --budget_.depth_;
        budget_.too_much("levels of nesting", static_cast<std::uint64_t>(budget_.limits_.depth));
      }
    }
    ~Level() { --budget_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Budget& budget_;
  };

 private:
  [[noreturn]] void too_much(const char* what, std::uint64_t limit) const {
    throw TemplateError("the rendering takes more than " + std::to_string(limit) + " " + what +
                        "; does the template loop or grow without end?");
  }

  ChatLimits limits_;
  std::uint64_t steps_ = 0, bytes_ = 0;
  int depth_ = 0;
};

/// A string that grows within the budget.
class Writer {
 public:
  explicit Writer(Budget& budget) : budget_(budget) {}
  void add(std::string_view piece) {
    budget_.bytes(piece.size());
    text_ += piece;
  }
  void add(char c) { add(std::string_view(&c, 1)); }
  void add(std::size_t times, std::string_view piece) {
    budget_.step(times / 64);
    if (!piece.empty() && times > (std::size_t{1} << 40) / piece.size()) times = (std::size_t{1} << 40) / piece.size();
    budget_.bytes(times * piece.size());
    text_.reserve(text_.size() + times * piece.size());
    for (std::size_t i = 0; i < times && !piece.empty(); ++i) text_ += piece;
  }
  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }
  Budget& budget() { return budget_; }

 private:
  Budget& budget_;
  std::string text_;
};

}  // namespace jinja
}  // namespace lowrank::data
