// Filters of numbers.
#include <charconv>
#include <cmath>

#include "lowrank/core/number.h"
#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/filters.h"
#include "lowrank/data/chat/number_format.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"

namespace lowrank::data::jinja {
namespace {

Value abs_filter(Run& run, const Value& input, Call& call) {
  const Parameters none("abs", call, {});
  if (input.is(Kind::kFloat)) return Value::number(std::fabs(input.number()));
  if (input.is_integral()) return input.integer() < 0 ? negated(input) : Value::integer(input.integer());
  if (input.is(Kind::kUndefined)) throw TemplateError(input.why_undefined());
  throw TemplateError("abs needs a number, not a " + to_repr(run.budget(), input));
}

// Digits with single underscores between them, none at the ends: without the underscores, or nothing.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      out += text[i];
      continue;
    }
    const auto is_digit_at = [&](std::size_t k) {
      return k < text.size() && std::isalnum(static_cast<unsigned char>(text[k])) != 0;
    };
    if (i == 0 || !is_digit_at(i - 1) || !is_digit_at(i + 1)) return std::nullopt;
  }
  return out;
}

std::optional<std::int64_t> parse_integer(std::string_view text, std::int64_t base) {
  text = strip(text, nullptr, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const char mark = text.size() > 2 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : ' ';
  const std::int64_t marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (marked != 0 && (base == 0 || base == marked)) {
    base = marked;
    text.remove_prefix(text[2] == '_' ? 3 : 2);
  } else if (base == 0) {
    base = 10;
  }
  if (base < 2 || base > 36) throw TemplateError("int: the base must be 0 or from 2 to 36");
  const auto digits = without_underscores(text);
  std::int64_t value = 0;
  if (!digits || digits->empty() || !std::isalnum(static_cast<unsigned char>((*digits)[0]))) return std::nullopt;
  const std::string all = (negative ? "-" : "") + *digits;
  const auto result = std::from_chars(all.data(), all.data() + all.size(), value, static_cast<int>(base));
  if (result.ptr != all.data() + all.size()) return std::nullopt;
  if (result.ec == std::errc::result_out_of_range) throw TemplateError("int: a number beyond 64 bits");
  return result.ec == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_float(std::string_view text) {
  text = strip(text, nullptr, true, true);
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto digits = without_underscores(text);
  if (!digits || digits->empty() || (*digits)[0] == '-' || (*digits)[0] == '+') return std::nullopt;
  const std::string name = lower(*digits);
  double value = 0;
  if (name == "inf" || name == "infinity" || name == "nan") {
    value = name == "nan" ? std::nan("") : HUGE_VAL;
  } else {
    if (digits->find_first_not_of("0123456789.eE+-") != std::string::npos) return std::nullopt;
    const auto result = std::from_chars(digits->data(), digits->data() + digits->size(), value);
    if (result.ptr != digits->data() + digits->size()) return std::nullopt;
    if (result.ec == std::errc::result_out_of_range) value = core::read_double(*digits);
    if (result.ec == std::errc::invalid_argument) return std::nullopt;
  }
  return negative ? -value : value;
}

Value whole(double value) {
  if (!(std::fabs(value) < 9.2e18)) throw TemplateError("a float that does not fit into 64 bits");
  return Value::integer(static_cast<std::int64_t>(value));
}

Value int_filter(Run&, const Value& input, Call& call) {
  const Parameters p("int", call, {"default", "base"});
  const Value fallback = p.get(0, Value::integer(0));
  if (input.is(Kind::kUndefined)) throw TemplateError(input.why_undefined());
  if (input.is(Kind::kFloat) && std::isnan(input.number())) return fallback;
  if (input.is(Kind::kFloat)) return whole(input.number());
  if (input.is_integral()) return Value::integer(input.integer());
  if (!input.is_string()) return fallback;
  if (const auto value = parse_integer(input.text(), p.integer(1, 10))) return Value::integer(*value);
  const auto value = parse_float(input.text());
  return value && std::isfinite(*value) ? whole(*value) : fallback;
}

Value float_filter(Run&, const Value& input, Call& call) {
  const Parameters p("float", call, {"default"});
  if (input.is(Kind::kUndefined)) throw TemplateError(input.why_undefined());
  if (input.is_number()) return Value::number(input.number());
  if (input.is_string()) {
    if (const auto value = parse_float(input.text())) return Value::number(*value);
  }
  return p.get(0, Value::number(0));
}

// Half goes to the even neighbour, judged by the exact value, as Python does.
double rounded(double value, std::int64_t precision) {
  if (!std::isfinite(value) || precision > 330) return value;
  if (precision < -330) return std::copysign(0.0, value);
  if (precision >= 0) {
    char buffer[1500];
    const auto end =
        std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed, static_cast<int>(precision)).ptr;
    double out = 0;
    std::from_chars(buffer, end, out);
    return out;
  }
  const double power = std::pow(10.0, static_cast<double>(-precision));
  return std::nearbyint(value / power) * power;
}

Value round_filter(Run& run, const Value& input, Call& call) {
  const Parameters p("round", call, {"precision", "method"});
  const std::string method = p.text(1, "common");
  if (method != "common" && method != "ceil" && method != "floor") {
    throw TemplateError("round: the method must be common, ceil or floor");
  }
  if (input.is(Kind::kUndefined)) throw TemplateError(input.why_undefined());
  if (!input.is_number()) throw TemplateError("round needs a number, not a " + type_name(input));
  const std::int64_t precision = p.integer(0, 0);
  if (method == "common") {
    if (!input.is(Kind::kFloat) && precision >= 0) return Value::integer(input.integer());
    const double value = rounded(input.number(), precision);
    return input.is(Kind::kFloat) ? Value::number(value) : whole(value);
  }
  const Value power = binary(run.budget(), Op::kPower, Value::integer(10), Value::integer(precision));
  const double scaled = binary(run.budget(), Op::kMultiply, input, power).number();
  return binary(run.budget(), Op::kDivide, whole(method == "ceil" ? std::ceil(scaled) : std::floor(scaled)), power);
}

Value filesizeformat(Run& run, const Value& input, Call& call) {
  const Parameters p("filesizeformat", call, {"binary"});
  const bool binary_units = p.truth(0, false);
  Call none;
  if (!input.is_number() && !(input.is_string() && parse_float(input.text())))
    throw TemplateError("filesizeformat needs a number");
  const double bytes = float_filter(run, input, none).number(), base = binary_units ? 1024 : 1000;
  if (bytes == 1) return run.string("1 Byte");
  if (bytes < base) return run.string(std::to_string(static_cast<std::int64_t>(bytes)) + " Bytes");
  const std::string prefixes = binary_units ? "KMGTPEZY" : "kMGTPEZY";
  double unit = base;
  std::size_t i = 0;
  for (; i < prefixes.size(); ++i) {
    unit *= base;
    if (bytes < unit || i + 1 == prefixes.size()) break;
  }
  NumberFormat f;
  f.type = 'f';
  f.precision = 1;
  return run.string(float_digits(base * bytes / unit, f) + " " + prefixes[i] + (binary_units ? "iB" : "B"));
}

}  // namespace

const FilterTable& number_filters() {
  static const FilterTable filters = {{"abs", abs_filter},
                                      {"filesizeformat", filesizeformat},
                                      {"float", float_filter},
                                      {"int", int_filter},
                                      {"round", round_filter}};
  return filters;
}

}  // namespace lowrank::data::jinja
