// One rendering of a template: its scopes, what it has written, what it may still use up.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/chat/ast.h"
#include "lowrank/data/chat/chat_template.h"
#include "lowrank/data/chat/value.h"

namespace lowrank::data::jinja {

/// Variables of a block, a loop or a call; what is not here is looked for in the scope around.
class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> around) : around_(std::move(around)) {}
  const Value* find(int id) const;
  void set(int id, Value value);
  void clear() { values_.clear(); }

 private:
  std::vector<std::pair<int, Value>> values_;
  std::shared_ptr<Scope> around_;
};
using ScopePtr = std::shared_ptr<Scope>;

/// The arguments of one call.
struct Call {
  Items positional;
  std::vector<std::pair<std::string, Value>> keywords;

  /// Takes a keyword out of the list.
  std::optional<Value> take(std::string_view name);
};

struct Macro {
  const MacroNode* node = nullptr;
  ScopePtr scope;  // where it was defined
};

/// The state of a {% for %}, and what its body sees as `loop`.
struct Loop {
  Items items;
  std::size_t next = 0;
  std::function<bool(const Value&)> test;  // empty: every item counts
  const Statement* node = nullptr;
  ScopePtr scope;  // around the loop
  std::int64_t index0 = -1, depth0 = 0;
  std::optional<std::int64_t> length;
  std::optional<Value> after, current, before;  // the next item where it was looked at, this one, the one before
  std::optional<Items> changed;

  bool advance();       // to the next item; false behind the last
  const Value* peek();  // the next item, or nothing
  std::int64_t count();

 private:
  std::optional<Value> fetch();
};

std::string macro_text(const Macro& macro);  // as Python prints it
std::string loop_text(Loop& loop);

class Run {
 public:
  Run(const ParsedTemplate& tree, const core::Json& variables, const ChatLimits& limits,
      const std::optional<ChatDate>& date)
      : tree_(tree), variables_(variables), budget_(limits), date_(date), globals_(tree.names.size()) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Rendering render();
  int line() const { return line_; }
  Budget& budget() { return budget_; }

  Value string(std::string text, bool markup = false) { return Value::string(budget_, std::move(text), markup); }
  /// object.name and object[key] as the sandbox allows them. TemplateError: the object is undefined.
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& key);
  /// What Python's getattr finds: methods, not the keys of a dict.
  std::optional<Value> python_attribute(const Value& object, const std::string& name);
  Value call(const Value& callee, Call call);
  Value filter(const std::string& name, const Value& input, Call call);
  bool test(const std::string& name, const Value& input, Call call);

 private:
  enum class Flow { kOn, kBreak, kContinue };

  Value evaluate(const Expression& e, const ScopePtr& scope);
  Value name(const Expression& e, const Scope& scope);
  Value global(int id);
  Value comparison(const Expression& e, const ScopePtr& scope);
  Value slice_of(const Expression& e, const ScopePtr& scope);
  Value concatenation(const Expression& e, const ScopePtr& scope);
  Value dict(const Expression& e, const ScopePtr& scope);
  Items all(const std::vector<ExpressionPtr>& parts, const ScopePtr& scope);
  Call arguments(const Arguments& arguments, const ScopePtr& scope);
  Value filtered(const Expression& e, const ScopePtr& scope, const std::string* block);

  Flow execute(const Body& body, const ScopePtr& scope, std::string& out);
  Flow execute(const Statement& s, const ScopePtr& scope, std::string& out);
  Flow for_loop(const Statement& s, const Value& over, const ScopePtr& scope, std::int64_t depth0, std::string& out);
  Flow set_block(const Statement& s, const ScopePtr& scope);
  Flow filter_block(const Statement& s, const ScopePtr& scope, std::string& out);
  void generation(const Statement& s, const ScopePtr& scope, std::string& out);
  void call_block(const Statement& s, const ScopePtr& scope, std::string& out);
  void assign(const Expression& target, const Value& value, Scope& scope);
  void check_namespaces(const Expression& target, const Scope& scope);
  void emit(std::string& out, std::string_view text);
  void emit_string(std::string& out, const Value& value);

  std::optional<Value> subscript(const Value& object, const Value& key);
  std::optional<Value> loop_attribute(Loop& loop, const std::string& name);
  std::optional<Value> macro_attribute(const Macro& macro, const std::string& name);

  Value call_macro(const Macro& macro, Call call);
  Value call_function(Function function, Call call);
  Value call_loop(Loop& loop, const Call& call);
  Value loop_method(Loop& loop, const std::string& name, const Call& call);
  std::vector<std::pair<Value, Value>> mapping(const char* function, Call call);

  const ParsedTemplate& tree_;
  const core::Json& variables_;
  Budget budget_;
  const std::optional<ChatDate>& date_;
  int line_ = 0;
  std::vector<std::optional<Value>> globals_;  // by the name's id, once they were looked up
  // What values point to without owning it, so that no two own each other.
  std::deque<Namespace> namespaces_;
  std::deque<Macro> macros_;
  std::deque<Loop> loops_;

  std::string text_;
  struct Span {
    std::size_t begin, characters;
  };
  std::vector<Span> spans_;
};

/// A JSON value as a template's. TemplateError: an integer beyond 64 bits with a sign.
Value from_json(Budget& budget, const core::Json& json);

}  // namespace lowrank::data::jinja
