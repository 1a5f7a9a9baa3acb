// A template as the parser reads it: statements and expressions.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/chat/value.h"

namespace lowrank::data::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

/// What stands between the parentheses of a call, a filter or a test.
struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> keywords;
  ExpressionPtr list, dict;  // *list, **dict
};

enum class Op {
  kConstant,     // constant
  kName,         // text, id
  kTuple,        // parts
  kList,         // parts
  kDict,         // parts: key, value, key, value
  kConditional,  // parts: value, test, other (may be null)
  kNot,          // parts: operand; as kNegate and kPlus
  kNegate,
  kPlus,
  kAnd,  // parts: left, right; as the arithmetic
  kOr,
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kConcat,     // parts: two or more
  kCompare,    // parts: one more than comparisons
  kAttribute,  // parts: object; text
  kNamespace,  // as kName and kAttribute in a target: text, id, attribute in `constant`
  kItem,       // parts: object, key
  kSlice,      // parts: object, start, stop, step (each of the three may be null)
  kCall,       // parts: callee; arguments
  kFilter,     // parts: input (null in a filter block); text; arguments
  kTest,       // parts: input; text; arguments
};

enum class Comparison { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

struct Expression {
  Op op = Op::kConstant;
  int line = 0;
  int id = -1;    // of a name
  int depth = 1;  // of the tree below
  std::string text;
  Value constant;
  std::vector<ExpressionPtr> parts;
  std::vector<Comparison> comparisons;
  std::unique_ptr<Arguments> arguments;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

/// A macro, a call block's body or the body of {% generation %}.
struct MacroNode {
  std::string name;  // empty: of a call block
  int id = -1;
  std::vector<std::pair<std::string, int>> parameters;  // names and their ids
  std::vector<ExpressionPtr> defaults;                  // of the last ones
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
  Body body;
};

enum class Tag {
  kText,        // text
  kOutput,      // value
  kIf,          // branches: test (null: else) and body
  kFor,         // target, value, test, recursive, body, other
  kSet,         // target, value
  kSetBlock,    // target, value (a chain of filters or null), body
  kMacro,       // macro
  kCall,        // macro, value (the call)
  kFilter,      // value, body
  kWith,        // assignments, body
  kGeneration,  // macro
  kBreak,
  kContinue,
};

struct Statement {
  Tag tag = Tag::kText;
  int line = 0;
  std::string text;
  ExpressionPtr target, value, test;
  bool recursive = false;
  Body body, other;
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> assignments;
  std::unique_ptr<MacroNode> macro;
};

/// Names that the evaluator itself gives a value; the others follow.
enum ReservedName { kLoopName, kCallerName, kVarargsName, kKwargsName, kReservedNames };

struct ParsedTemplate {
  Body body;
  std::vector<std::string> names;  // by id
  bool has_generation = false;
};

}  // namespace lowrank::data::jinja
