#include "lowrank/data/chat/operators.h"

#include <algorithm>
#include <cmath>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/percent.h"

namespace lowrank::data::jinja {
namespace {

[[noreturn]] void unsupported(const char* op, const Value& a, const Value& b) {
  for (const Value* v : {&a, &b}) {
    if (v->is(Kind::kUndefined)) throw TemplateError(v->why_undefined());
  }
  throw TemplateError(std::string("unsupported operand types for ") + op + ": " + type_name(a) + " and " +
                      type_name(b));
}

[[noreturn]] void too_large() { throw TemplateError("an integer beyond 64 bits"); }

Value checked(bool overflow,
              const std::int64_t& result) {  // by reference: the result is set while arguments are evaluated
  if (overflow) too_large();
  return Value::integer(result);
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  const std::int64_t q = a / b;
  return q - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
}

double float_modulo(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 ? (r < 0) != (b < 0) : false) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

double float_floor_divide(double a, double b) {
  const double quotient = (a - float_modulo(a, b)) / b;
  if (quotient == 0) return std::copysign(0.0, a / b);
  const double floor = std::floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw TemplateError("0 cannot be raised to a negative power");
    return Value::number(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) too_large();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) too_large();
  }
  return Value::integer(result);
}

Value integers(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t r = 0;
  switch (op) {
    case Op::kAdd:
      return checked(__builtin_add_overflow(a, b, &r), r);
    case Op::kSubtract:
      return checked(__builtin_sub_overflow(a, b, &r), r);
    case Op::kMultiply:
      return checked(__builtin_mul_overflow(a, b, &r), r);
    case Op::kPower:
      return integer_power(a, b);
    default:
      break;
  }
  if (b == 0) throw TemplateError("division by zero");
  if (op == Op::kDivide) {
    return Value::number(static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
  }
  if (b == -1) {  // the only divisor that may overflow
    if (op == Op::kModulo) return Value::integer(0);
    return checked(__builtin_sub_overflow(std::int64_t{0}, a, &r), r);
  }
  return Value::integer(op == Op::kFloorDivide ? floor_divide(a, b) : a - floor_divide(a, b) * b);
}

Value floats(Op op, double a, double b) {
  switch (op) {
    case Op::kAdd:
      return Value::number(a + b);
    case Op::kSubtract:
      return Value::number(a - b);
    case Op::kMultiply:
      return Value::number(a * b);
    case Op::kPower: {
      if (a == 0 && b < 0) throw TemplateError("0.0 cannot be raised to a negative power");
      if (a < 0 && std::floor(b) != b) throw TemplateError("a negative number to a fractional power");
      const double r = std::pow(a, b);
      if (std::isinf(r) && !std::isinf(a) && !std::isinf(b)) throw TemplateError("the result of ** is too large");
      return Value::number(r);
    }
    default:
      break;
  }
  if (b == 0) throw TemplateError("division by zero");
  if (op == Op::kDivide) return Value::number(a / b);
  return Value::number(op == Op::kFloorDivide ? float_floor_divide(a, b) : float_modulo(a, b));
}

Value joined(Budget& budget, const Value& a, const Value& b) {
  const bool markup = a.is_markup() || b.is_markup();
  budget.bytes(a.text().size() + b.text().size());
  if (!markup) return Value::string(budget, a.text() + b.text());
  // What is marked as safe for HTML escapes what it is joined to.
  return Value::string(
      budget, (a.is_markup() ? a.text() : escape_html(a.text())) + (b.is_markup() ? b.text() : escape_html(b.text())),
      true);
}

Value repeated(Budget& budget, const Value& value, std::int64_t times) {
  const auto n = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  if (value.is_string()) {
    Writer out(budget);
    out.add(n, value.text());
    return Value::string(out.take(), value.is_markup());
  }
  budget.bytes(std::min<std::uint64_t>(n, std::uint64_t{1} << 40) * value.items().size() * sizeof(Value));
  Items items;
  for (std::size_t i = 0; i < n && !value.items().empty(); ++i) {
    items.insert(items.end(), value.items().begin(), value.items().end());
  }
  return value.is(Kind::kList) ? Value::list(budget, std::move(items)) : Value::tuple(budget, std::move(items));
}

const char* sign_of(Op op) {
  switch (op) {
    case Op::kAdd:
      return "+";
    case Op::kSubtract:
      return "-";
    case Op::kMultiply:
      return "*";
    case Op::kDivide:
      return "/";
    case Op::kFloorDivide:
      return "//";
    case Op::kModulo:
      return "%";
    default:
      return "**";
  }
}

bool is_repeatable(const Value& v) { return v.is_string() || v.is(Kind::kList) || v.is(Kind::kTuple); }

}  // namespace

Value binary(Budget& budget, Op op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return integers(op, a.integer(), b.integer());
    return floats(op, a.number(), b.number());
  }
  if (op == Op::kModulo && a.is_string()) return percent_format(budget, a, b);
  if (op == Op::kAdd && a.is_string() && b.is_string()) return joined(budget, a, b);
  if (op == Op::kAdd && a.kind() == b.kind() && (a.is(Kind::kList) || a.is(Kind::kTuple))) {
    budget.bytes((a.items().size() + b.items().size()) * sizeof(Value));
    Items items = a.items();
    items.insert(items.end(), b.items().begin(), b.items().end());
    return a.is(Kind::kList) ? Value::list(budget, std::move(items)) : Value::tuple(budget, std::move(items));
  }
  if (op == Op::kMultiply && is_repeatable(a) && b.is_integral()) return repeated(budget, a, b.integer());
  if (op == Op::kMultiply && a.is_integral() && is_repeatable(b)) return repeated(budget, b, a.integer());
  unsupported(sign_of(op), a, b);
}

Value negated(const Value& value) {
  if (value.is(Kind::kFloat)) return Value::number(-value.number());
  if (value.is_integral()) return integers(Op::kSubtract, 0, value.integer());
  if (value.is(Kind::kUndefined)) throw TemplateError(value.why_undefined());
  throw TemplateError("a " + type_name(value) + " has no sign");
}

std::int64_t as_integer(const Value& value) {
  if (value.is_integral()) return value.integer();
  if (value.is(Kind::kUndefined)) throw TemplateError(value.why_undefined());
  throw TemplateError("expected an integer, found a " + type_name(value));
}

std::int64_t clamp_index(std::int64_t index, std::int64_t size) {
  if (index < 0) index = index < -size ? 0 : index + size;
  return std::min(index, size);
}

namespace {

struct Indices {
  std::int64_t start, step, count;
};

Indices slice_indices(std::int64_t size, const Value& start, const Value& stop, const Value& step) {
  // Large enough not to matter, small enough not to overflow.
  const auto bounded = [](std::int64_t i) {
    return std::clamp<std::int64_t>(i, -(std::int64_t{1} << 60), std::int64_t{1} << 60);
  };
  const std::int64_t by = step.is(Kind::kNone) ? 1 : bounded(as_integer(step));
  if (by == 0) throw TemplateError("a slice's step cannot be zero");
  const std::int64_t low = by < 0 ? -1 : 0, high = by < 0 ? size - 1 : size;
  const auto place = [&](const Value& v, std::int64_t otherwise) {
    if (v.is(Kind::kNone)) return otherwise;
    std::int64_t i = bounded(as_integer(v));
    if (i < 0) i += size;
    return std::clamp(i, low, high);
  };
  const std::int64_t from = place(start, by < 0 ? high : low), to = place(stop, by < 0 ? low : high);
  const std::int64_t count =
      by > 0 ? (to > from ? (to - from - 1) / by + 1 : 0) : (from > to ? (from - to - 1) / -by + 1 : 0);
  return {from, by, count};
}

Value slice_text(Budget& budget, const Value& value, const Value& start, const Value& stop, const Value& step) {
  const Text& text = value.text_object();
  const Indices at = slice_indices(static_cast<std::int64_t>(text.characters), start, stop, step);
  const auto n = static_cast<std::size_t>(at.count);
  budget.step(text.text.size() / 64);
  if (at.step == 1) {
    const std::size_t begin = offset_of(text.text, text.characters, static_cast<std::size_t>(at.start));
    const std::string_view rest = std::string_view(text.text).substr(begin);
    const std::size_t end =
        offset_of(rest, text.characters - std::min(text.characters, static_cast<std::size_t>(at.start)), n);
    return Value::string(budget, std::string(n == 0 ? std::string_view() : rest.substr(0, end)), text.markup);
  }
  budget.bytes(4 * text.characters);
  const std::u32string characters = characters_of(text.text);
  std::u32string out;
  for (std::int64_t i = 0; i < at.count; ++i) out += characters[static_cast<std::size_t>(at.start + i * at.step)];
  return Value::string(budget, to_utf8(out), text.markup);
}

}  // namespace

std::optional<Value> slice(Budget& budget, const Value& value, const Value& start, const Value& stop,
                           const Value& step) {
  if (value.is_string()) return slice_text(budget, value, start, stop, step);
  if (value.is(Kind::kRange)) {
    const Range& range = value.range();
    const Indices at = slice_indices(range.size, start, stop, step);
    const std::int64_t first = range.start + at.start * range.step, by = range.step * at.step;
    return Value::range(first, first + at.count * by, by);
  }
  if (!value.is(Kind::kList) && !value.is(Kind::kTuple)) return std::nullopt;
  const Items& items = value.items();
  const Indices at = slice_indices(static_cast<std::int64_t>(items.size()), start, stop, step);
  budget.bytes(static_cast<std::size_t>(at.count) * sizeof(Value));
  Items out;
  for (std::int64_t i = 0; i < at.count; ++i) out.push_back(items[static_cast<std::size_t>(at.start + i * at.step)]);
  return value.is(Kind::kList) ? Value::list(budget, std::move(out)) : Value::tuple(budget, std::move(out));
}

}  // namespace lowrank::data::jinja
