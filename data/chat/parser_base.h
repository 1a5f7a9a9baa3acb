// What the parsers of statements and of expressions share: the tokens and where they stand, names, nesting.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lowrank/data/chat/ast.h"
#include "lowrank/data/chat/lexer.h"

namespace lowrank::data::jinja {

class ParserBase {
 protected:
  explicit ParserBase(std::string_view source) : tokens_(tokenize(source)) {
    for (const char* name : {"loop", "caller", "varargs", "kwargs"}) id_of(name);
  }

  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  Token take() {
    Token token = now();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  static bool is(const Token& t, TokenType type, std::string_view text) { return t.type == type && t.text == text; }
  bool at_name(std::string_view name) const { return is(now(), TokenType::kName, name); }
  bool at_operator(std::string_view op) const { return is(now(), TokenType::kOperator, op); }
  bool skip_name(std::string_view name) { return at_name(name) && (take(), true); }
  bool skip_operator(std::string_view op) { return at_operator(op) && (take(), true); }

  [[noreturn]] void fail(const std::string& message, int line) const { throw SyntaxError{line, message}; }
  [[noreturn]] void fail(const std::string& message) const { fail(message, now().line); }
  [[noreturn]] void fail_expected(const std::string& what) const {
    fail("expected " + what + ", found " + describe(now()));
  }
  static std::string describe(const Token& token);

  void expect_operator(std::string_view op) {
    if (!skip_operator(op)) fail_expected("'" + std::string(op) + "'");
  }
  void expect(TokenType type, const char* what) {
    if (now().type != type) fail_expected(what);
    take();
  }
  std::string expect_name() {
    if (now().type != TokenType::kName) fail_expected("a name");
    return take().text;
  }

  int id_of(const std::string& name) {
    const auto [it, is_new] = ids_.emplace(name, static_cast<int>(names_.size()));
    if (is_new) names_.push_back(name);
    return it->second;
  }

  /// A macro's body uses caller, varargs and kwargs only where it reads them before it gives them a value itself.
  struct SpecialUse {
    bool used[kReservedNames] = {}, stored[kReservedNames] = {};
  };
  void note_read(int id) {
    if (id >= kReservedNames) return;
    for (SpecialUse& use : macros_) use.used[id] = use.used[id] || !use.stored[id];
  }
  void note_store(int id) {
    if (id >= kReservedNames) return;
    for (SpecialUse& use : macros_) use.stored[id] = true;
  }

  /// The parser and all that walks the tree recurse: the text's nesting is bounded.
  class Nest {
   public:
    explicit Nest(ParserBase& parser) : parser_(parser) {
      if (++parser_.depth_ > kMaxNesting)
        parser_.fail("nested more than " + std::to_string(kMaxNesting) + " levels deep");
    }
    ~Nest() { --parser_.depth_; }
    Nest(const Nest&) = delete;
    Nest& operator=(const Nest&) = delete;

   private:
    static constexpr int kMaxNesting = 400;
    ParserBase& parser_;
  };

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::vector<std::string> names_;
  std::unordered_map<std::string, int> ids_;
  std::vector<SpecialUse> macros_;  // of the macros around
  int depth_ = 0;
};

}  // namespace lowrank::data::jinja
