#include "lowrank/data/chat/parser_expression.h"

#include <algorithm>
#include <array>
#include <utility>

#include "lowrank/core/text.h"

namespace lowrank::data::jinja {

std::string ParserBase::describe(const Token& token) {
  switch (token.type) {
    case TokenType::kData:
      return "text";
    case TokenType::kVariableBegin:
      return "\"{{\"";
    case TokenType::kVariableEnd:
      return "\"}}\"";
    case TokenType::kBlockBegin:
      return "\"{%\"";
    case TokenType::kBlockEnd:
      return "\"%}\"";
    case TokenType::kEnd:
      return "the end of the template";
    default:
      return "'" + core::printable(token.text, 40) + "'";
  }
}

ExpressionPtr ExpressionParser::made(Op op, int line, ExpressionPtr a, ExpressionPtr b) {
  auto e = std::make_unique<Expression>();
  e->op = op;
  e->line = line;
  if (a) e->parts.push_back(std::move(a));
  if (b) e->parts.push_back(std::move(b));
  return measured(std::move(e));
}

ExpressionPtr ExpressionParser::measured(ExpressionPtr e) {
  const auto hold = [&](const ExpressionPtr& part) {
    if (part) e->depth = std::max(e->depth, part->depth + 1);
  };
  for (const ExpressionPtr& part : e->parts) hold(part);
  if (e->arguments) {
    for (const ExpressionPtr& argument : e->arguments->positional) hold(argument);
    for (const auto& [name, argument] : e->arguments->keywords) hold(argument);
    hold(e->arguments->list);
    hold(e->arguments->dict);
  }
  if (e->depth > kMaxDepth) fail("an expression of more than " + std::to_string(kMaxDepth) + " levels", e->line);
  return e;
}

ExpressionPtr ExpressionParser::applied(Op op, int line, ExpressionPtr input, std::string name,
                                        std::unique_ptr<Arguments> arguments) {
  ExpressionPtr e = made(op, line, std::move(input));
  if (e->parts.empty()) e->parts.push_back(nullptr);
  e->text = std::move(name);
  e->arguments = std::move(arguments);
  return measured(std::move(e));
}

ExpressionPtr ExpressionParser::expression(bool with_conditional) {
  const Nest nest(*this);
  return with_conditional ? conditional() : disjunction();
}

ExpressionPtr ExpressionParser::conditional() {
  const Nest nest(*this);
  int line = now().line;
  ExpressionPtr value = disjunction();
  while (skip_name("if")) {
    ExpressionPtr test = disjunction();
    ExpressionPtr other = skip_name("else") ? conditional() : nullptr;
    value = made(Op::kConditional, line, std::move(value), std::move(test));
    value->parts.push_back(std::move(other));
    value = measured(std::move(value));
    line = now().line;
  }
  return value;
}

ExpressionPtr ExpressionParser::disjunction() {
  ExpressionPtr left = conjunction();
  for (int line = now().line; skip_name("or"); line = now().line)
    left = made(Op::kOr, line, std::move(left), conjunction());
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  ExpressionPtr left = negation();
  for (int line = now().line; skip_name("and"); line = now().line)
    left = made(Op::kAnd, line, std::move(left), negation());
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  const Nest nest(*this);
  const int line = now().line;
  return skip_name("not") ? made(Op::kNot, line, negation()) : comparison();
}

ExpressionPtr ExpressionParser::comparison() {
  static constexpr std::array<std::pair<std::string_view, Comparison>, 6> kSigns = {
      {{"==", Comparison::kEqual},
       {"!=", Comparison::kNotEqual},
       {"<", Comparison::kLess},
       {"<=", Comparison::kLessEqual},
       {">", Comparison::kGreater},
       {">=", Comparison::kGreaterEqual}}};
  const int line = now().line;
  ExpressionPtr first = sum();
  ExpressionPtr whole;
  for (;;) {
    Comparison comparison = Comparison::kEqual;
    bool found = false;
    for (const auto& [sign, meaning] : kSigns) {
      if (at_operator(sign)) {
        comparison = meaning;
        found = true;
      }
    }
    if (found) {
      take();
    } else if (skip_name("in")) {
      comparison = Comparison::kIn;
    } else if (at_name("not") && is(next(), TokenType::kName, "in")) {
      take();
      take();
      comparison = Comparison::kNotIn;
    } else {
      break;
    }
    if (!whole) whole = made(Op::kCompare, line, std::move(first));
    whole->comparisons.push_back(comparison);
    whole->parts.push_back(sum());
  }
  return whole ? measured(std::move(whole)) : std::move(first);
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (at_operator("+") || at_operator("-")) {
    const Token sign = take();
    left = made(sign.text == "+" ? Op::kAdd : Op::kSubtract, sign.line, std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  const int line = now().line;
  ExpressionPtr first = product();
  if (!at_operator("~")) return first;
  ExpressionPtr whole = made(Op::kConcat, line, std::move(first));
  while (skip_operator("~")) whole->parts.push_back(product());
  return measured(std::move(whole));
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (at_operator("*") || at_operator("/") || at_operator("//") || at_operator("%")) {
    const Token sign = take();
    const Op op = sign.text == "*"    ? Op::kMultiply
                  : sign.text == "/"  ? Op::kDivide
                  : sign.text == "//" ? Op::kFloorDivide
                                      : Op::kModulo;
    left = made(op, sign.line, std::move(left), power());
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary();
  for (int line = now().line; skip_operator("**"); line = now().line)
    left = made(Op::kPower, line, std::move(left), unary());
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filter) {
  const Nest nest(*this);
  const int line = now().line;
  ExpressionPtr e;
  if (skip_operator("-")) {
    e = made(Op::kNegate, line, unary(false));
  } else if (skip_operator("+")) {
    e = made(Op::kPlus, line, unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  if (!with_filter) return e;
  for (;;) {
    if (at_operator("|")) {
      e = filters(std::move(e), false);
    } else if (at_name("is")) {
      e = test(std::move(e));
    } else if (at_operator("(")) {
      const int call_line = now().line;
      e = applied(Op::kCall, call_line, std::move(e), "", arguments());
    } else {
      return e;
    }
  }
}

ExpressionPtr ExpressionParser::primary(bool with_namespace) {
  const Token token = now();
  ExpressionPtr e = made(Op::kConstant, token.line);
  switch (token.type) {
    case TokenType::kName:
      take();
      if (token.text == "true" || token.text == "True") {
        e->constant = Value::boolean(true);
      } else if (token.text == "false" || token.text == "False") {
        e->constant = Value::boolean(false);
      } else if (token.text != "none" && token.text != "None") {
        e->op = Op::kName;
        e->text = token.text;
        e->id = id_of(token.text);
        if (with_namespace && skip_operator(".")) {
          e->op = Op::kNamespace;
          e->constant = Value::string(expect_name());
        }
      }
      return e;
    case TokenType::kString: {
      std::string text;
      while (now().type == TokenType::kString) text += take().text;
      e->constant = Value::string(std::move(text));
      return e;
    }
    case TokenType::kInteger:
      take();
      e->constant = Value::integer(token.integer);
      return e;
    case TokenType::kFloat:
      take();
      e->constant = Value::number(token.number);
      return e;
    case TokenType::kOperator:
      if (token.text == "(") {
        take();
        e = tuple(true, {}, true);
        expect_operator(")");
        return e;
      }
      if (token.text == "[") return list();
      if (token.text == "{") return dict();
      break;
    default:
      break;
  }
  fail("unexpected " + describe(token), token.line);
}

ExpressionPtr ExpressionParser::list() {
  ExpressionPtr e = made(Op::kList, take().line);
  while (!at_operator("]")) {
    if (!e->parts.empty()) expect_operator(",");
    if (at_operator("]")) break;
    e->parts.push_back(expression());
  }
  expect_operator("]");
  return measured(std::move(e));
}

ExpressionPtr ExpressionParser::dict() {
  ExpressionPtr e = made(Op::kDict, take().line);
  while (!at_operator("}")) {
    if (!e->parts.empty()) expect_operator(",");
    if (at_operator("}")) break;
    e->parts.push_back(expression());
    expect_operator(":");
    e->parts.push_back(expression());
  }
  expect_operator("}");
  return measured(std::move(e));
}

bool ExpressionParser::at_tuple_end(std::string_view end) const {
  return now().type == TokenType::kVariableEnd || now().type == TokenType::kBlockEnd || at_operator(")") ||
         (!end.empty() && at_name(end));
}

ExpressionPtr ExpressionParser::tuple_of(bool simple, bool with_conditional, bool with_namespace, std::string_view end,
                                         bool in_parentheses) {
  const Nest nest(*this);
  ExpressionPtr whole = made(Op::kTuple, now().line);
  bool is_tuple = false;
  for (;;) {
    if (!whole->parts.empty()) expect_operator(",");
    if (at_tuple_end(end)) break;
    whole->parts.push_back(simple ? primary(with_namespace) : expression(with_conditional));
    if (!at_operator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return measured(std::move(whole));
  if (!whole->parts.empty()) return std::move(whole->parts[0]);
  if (!in_parentheses) fail_expected("an expression");
  return whole;
}

ExpressionPtr ExpressionParser::tuple(bool with_conditional, std::string_view end, bool in_parentheses) {
  return tuple_of(false, with_conditional, false, end, in_parentheses);
}

void ExpressionParser::check_target(const Expression& e) {
  if (e.op == Op::kTuple) {
    for (const ExpressionPtr& part : e.parts) check_target(*part);
  } else if (e.op == Op::kName) {
    note_store(e.id);
  } else if (e.op != Op::kNamespace) {
    fail(
        "a value cannot be given to this expression; expected a name, names with commas between them or an attribute "
        "of a "
        "namespace",
        e.line);
  }
}

ExpressionPtr ExpressionParser::target(bool with_namespace, std::string_view end) {
  // Names in a target are not read: what is noted about the macros around stays as it was.
  const std::vector<SpecialUse> before = macros_;
  ExpressionPtr e = tuple_of(true, true, with_namespace, end, false);
  macros_ = before;
  check_target(*e);
  return e;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr e) {
  if (e->op == Op::kName) note_read(e->id);
  for (;;) {
    if (at_operator(".") || at_operator("[")) {
      e = subscript(std::move(e));
    } else if (at_operator("(")) {
      const int line = now().line;
      e = applied(Op::kCall, line, std::move(e), "", arguments());
    } else {
      return e;
    }
  }
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object) {
  const Token sign = take();
  if (sign.text == ".") {
    const Token name = take();
    if (name.type == TokenType::kName) {
      ExpressionPtr e = made(Op::kAttribute, sign.line, std::move(object));
      e->text = name.text;
      return e;
    }
    if (name.type != TokenType::kInteger)
      fail("expected a name or a number behind '.', found " + describe(name), name.line);
    ExpressionPtr key = made(Op::kConstant, name.line);
    key->constant = Value::integer(name.integer);
    return made(Op::kItem, sign.line, std::move(object), std::move(key));
  }
  ExpressionPtr e = subscribed(std::move(object), sign.line);
  expect_operator("]");
  return e;
}

ExpressionPtr ExpressionParser::subscribed(ExpressionPtr object, int line) {
  ExpressionPtr first;
  if (!at_operator(":")) {
    first = expression();
    if (at_operator(",")) {  // a[1, 2]: the key is a tuple
      ExpressionPtr key = made(Op::kTuple, line, std::move(first));
      while (skip_operator(",")) key->parts.push_back(expression());
      return made(Op::kItem, line, std::move(object), measured(std::move(key)));
    }
    if (!at_operator(":")) return made(Op::kItem, line, std::move(object), std::move(first));
  }
  take();
  ExpressionPtr stop, step;
  if (!at_operator(":") && !at_operator("]")) stop = expression();
  if (skip_operator(":") && !at_operator("]")) step = expression();
  ExpressionPtr e = made(Op::kSlice, line, std::move(object));
  e->parts.push_back(std::move(first));
  e->parts.push_back(std::move(stop));
  e->parts.push_back(std::move(step));
  return measured(std::move(e));
}

std::unique_ptr<Arguments> ExpressionParser::arguments() {
  const Nest nest(*this);
  const int line = now().line;
  expect_operator("(");
  auto out = std::make_unique<Arguments>();
  const auto ensure = [&](bool holds) {
    if (!holds) fail("invalid syntax in the arguments of a call", line);
  };
  bool first = true;
  while (!at_operator(")")) {
    if (!first) {
      expect_operator(",");
      if (at_operator(")")) break;
    }
    first = false;
    if (skip_operator("*")) {
      ensure(!out->list && !out->dict);
      out->list = expression();
    } else if (skip_operator("**")) {
      ensure(!out->dict);
      out->dict = expression();
    } else if (now().type == TokenType::kName && is(next(), TokenType::kOperator, "=")) {
      ensure(!out->dict);
      const std::string name = take().text;
      take();
      for (const auto& [other, value] : out->keywords) ensure(other != name);
      out->keywords.emplace_back(name, expression());
    } else {
      ensure(!out->list && !out->dict && out->keywords.empty());
      out->positional.push_back(expression());
    }
  }
  expect_operator(")");
  return out;
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr input, bool first_is_named) {
  while (first_is_named || skip_operator("|")) {
    first_is_named = false;
    const int line = now().line;
    std::string name = expect_name();
    while (skip_operator(".")) name += "." + expect_name();
    std::unique_ptr<Arguments> filter_arguments = at_operator("(") ? arguments() : std::make_unique<Arguments>();
    input = applied(Op::kFilter, line, std::move(input), std::move(name), std::move(filter_arguments));
  }
  return input;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr input) {
  const int line = take().line;
  const bool negated = skip_name("not");
  std::string name = expect_name();
  while (skip_operator(".")) name += "." + expect_name();
  auto test_arguments = std::make_unique<Arguments>();
  const Token& token = now();
  const bool is_value = token.type == TokenType::kName || token.type == TokenType::kString ||
                        token.type == TokenType::kInteger || token.type == TokenType::kFloat || at_operator("[") ||
                        at_operator("{");
  if (at_operator("(")) {
    test_arguments = arguments();
  } else if (is_value && !at_name("else") && !at_name("or") && !at_name("and")) {
    if (at_name("is")) fail("tests cannot be chained with \"is\"");
    test_arguments->positional.push_back(postfix(primary()));
  }
  ExpressionPtr e = applied(Op::kTest, line, std::move(input), std::move(name), std::move(test_arguments));
  return negated ? made(Op::kNot, line, std::move(e)) : std::move(e);
}

}  // namespace lowrank::data::jinja
