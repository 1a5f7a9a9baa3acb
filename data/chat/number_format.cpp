#include "lowrank/data/chat/number_format.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

std::string with_sign(bool negative, std::string digits, const NumberFormat& format) {
  if (negative) return "-" + digits;
  return format.sign == '-' ? digits : format.sign + digits;
}

std::string grouped(const std::string& digits, char separator, std::size_t size) {
  const std::size_t end = std::min(digits.find_first_not_of("0123456789abcdefABCDEF"), digits.size());
  std::string out;
  for (std::size_t i = 0; i < end; ++i) {
    if (i > 0 && (end - i) % size == 0) out += separator;
    out += digits[i];
  }
  return out + digits.substr(end);
}

std::string chars_of(double value, std::chars_format how, int precision) {
  std::string buffer(static_cast<std::size_t>(precision) + 400, '\0');
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, how, precision);
  buffer.resize(static_cast<std::size_t>(result.ptr - buffer.data()));
  return buffer;
}

std::string general(double value, int precision, bool alternate) {
  precision = std::max(precision, 1);
  std::string out = chars_of(value, std::chars_format::general, precision);
  if (alternate && out.find('.') == std::string::npos) {
    const std::size_t e = std::min(out.find('e'), out.size());
    out.insert(
        e,
        "." + std::string(static_cast<std::size_t>(std::max<std::int64_t>(0, precision - static_cast<std::int64_t>(e))),
                          '0'));
  }
  return out;
}

}  // namespace

std::string integer_digits(std::int64_t value, const NumberFormat& format) {
  const char type = format.type == 0 ? 'd' : format.type;
  const int base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  const bool negative = value < 0;
  const auto magnitude = negative ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
  char buffer[80];
  std::string digits(buffer, std::to_chars(buffer, buffer + sizeof buffer, magnitude, base).ptr);
  if (format.precision > static_cast<std::int64_t>(digits.size())) {
    digits.insert(0, static_cast<std::size_t>(format.precision) - digits.size(), '0');
  }
  if (format.grouping != 0) digits = grouped(digits, format.grouping, base == 10 ? 3 : 4);
  if (format.alternate && base != 10) digits = std::string("0") + (base == 2 ? 'b' : base == 8 ? 'o' : 'x') + digits;
  if (type == 'X')
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return with_sign(negative, digits, format);
}

std::string float_digits(double value, const NumberFormat& format) {
  const bool negative = std::signbit(value) && !std::isnan(value);
  double magnitude = std::fabs(value);
  const char type = format.type;
  const auto precision = static_cast<int>(format.precision < 0 ? 6 : format.precision);
  std::string digits;
  if (std::isnan(value) || std::isinf(value)) {
    digits = std::isnan(value) ? "nan" : "inf";
    if (type == '%') digits += '%';
  } else if (type == 'f' || type == 'F' || type == '%') {
    digits = chars_of(type == '%' ? magnitude * 100 : magnitude, std::chars_format::fixed, precision);
    if (format.alternate && precision == 0) digits += '.';
    if (type == '%') digits += '%';
  } else if (type == 'e' || type == 'E') {
    digits = chars_of(magnitude, std::chars_format::scientific, precision);
  } else if (type == 'g' || type == 'G' || type == 'n') {
    digits = general(magnitude, precision, format.alternate);
  } else if (type == 0 && format.precision < 0) {
    digits = float_text(magnitude);
  } else if (type == 0) {  // as g, but with a digit behind the point, and the exponent one earlier
    digits = general(magnitude, precision, false);
    const int exponent = magnitude == 0 ? 0 : static_cast<int>(std::floor(std::log10(magnitude)));
    if (digits.find('e') == std::string::npos && digits.find('.') == std::string::npos) {
      digits = exponent + 1 >= std::max(precision, 1)
                   ? chars_of(magnitude, std::chars_format::scientific, std::max(precision, 1) - 1)
                   : digits + ".0";
    }
  } else {
    throw TemplateError(std::string("unknown format code '") + type + "' for a float");
  }
  if (format.grouping != 0) digits = grouped(digits, format.grouping, 3);
  if (type == 'F' || type == 'E' || type == 'G')
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  return with_sign(negative, digits, format);
}

std::string padded(Budget& budget, const std::string& text, const NumberFormat& format, bool is_number) {
  const auto size = static_cast<std::int64_t>(count_characters(text));
  Writer out(budget);
  const auto room = static_cast<std::size_t>(std::max<std::int64_t>(0, format.width - size));
  std::string fill;
  append_character(fill, format.fill);
  const char align = format.align != 0 ? format.align : is_number ? '>' : '<';
  if (align == '=') {
    std::size_t lead = !text.empty() && std::string_view("+- ").find(text[0]) != std::string_view::npos ? 1 : 0;
    if (text.size() > lead + 1 && text[lead] == '0' && std::isalpha(static_cast<unsigned char>(text[lead + 1])) != 0)
      lead += 2;
    out.add(std::string_view(text).substr(0, lead));
    out.add(room, fill);
    out.add(std::string_view(text).substr(lead));
    return out.take();
  }
  const std::size_t left = align == '>' ? room : align == '^' ? room / 2 : 0;
  out.add(left, fill);
  out.add(text);
  out.add(room - left, fill);
  return out.take();
}

}  // namespace lowrank::data::jinja
