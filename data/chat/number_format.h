// Numbers as Python's format() and % write them.
#pragma once

#include <cstdint>
#include <string>

#include "lowrank/data/chat/value.h"

namespace lowrank::data::jinja {

/// [[fill]align][sign][#][0][width][grouping][.precision][type], or what of it a % code has.
struct NumberFormat {
  char32_t fill = ' ';
  char align = 0;   // < > ^ =; 0: numbers on the right, others on the left
  char sign = '-';  // + - space
  bool alternate = false;
  std::int64_t width = 0;
  char grouping = 0;  // , _
  std::int64_t precision = -1;
  char type = 0;
};

/// The digits without padding. TemplateError: a type that the value does not have.
std::string integer_digits(std::int64_t value, const NumberFormat& format);
std::string float_digits(double value, const NumberFormat& format);
/// `digits` (with its sign) or any other text, filled up to the width.
std::string padded(Budget& budget, const std::string& text, const NumberFormat& format, bool is_number);

}  // namespace lowrank::data::jinja
