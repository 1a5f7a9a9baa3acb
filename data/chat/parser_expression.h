// The parser of expressions, lowest precedence first.
#pragma once

#include "lowrank/data/chat/parser_base.h"

namespace lowrank::data::jinja {

class ExpressionParser : protected ParserBase {
 protected:
  using ParserBase::ParserBase;

  ExpressionPtr expression(bool with_conditional = true);
  /// Expressions with commas between them as a tuple, one alone as itself. `end`: a name that ends it too.
  ExpressionPtr tuple(bool with_conditional = true, std::string_view end = {}, bool in_parentheses = false);
  /// What a value can be given to: names, tuples of them, and where allowed an attribute of a namespace.
  ExpressionPtr target(bool with_namespace, std::string_view end = {});
  ExpressionPtr filters(ExpressionPtr input, bool first_is_named);
  void check_target(const Expression& e);

 private:
  ExpressionPtr conditional();
  ExpressionPtr disjunction();
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filter = true);
  ExpressionPtr primary(bool with_namespace = false);
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr e);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr subscribed(ExpressionPtr object, int line);
  ExpressionPtr test(ExpressionPtr input);
  std::unique_ptr<Arguments> arguments();
  ExpressionPtr tuple_of(bool simple, bool with_conditional, bool with_namespace, std::string_view end,
                         bool in_parentheses);
  bool at_tuple_end(std::string_view end) const;

  ExpressionPtr made(Op op, int line, ExpressionPtr a = nullptr, ExpressionPtr b = nullptr);
  ExpressionPtr applied(Op op, int line, ExpressionPtr input, std::string name, std::unique_ptr<Arguments> arguments);
  /// Chains of operators, filters and subscripts nest without recursion of the parser: the tree's depth is bounded
  /// here.
  static constexpr int kMaxDepth = 500;
  ExpressionPtr measured(ExpressionPtr e);
};

}  // namespace lowrank::data::jinja
