#include "lowrank/core/number.h"

#include <fmt/format.h>
#include <locale.h>

#include <cstdlib>

namespace lowrank::core {

double read_double(const std::string& text) {
  static const locale_t kPlain = ::newlocale(LC_ALL_MASK, "C", nullptr);
  return ::strtod_l(text.c_str(), nullptr, kPlain);
}

std::string format_change(double change, int digits) {
  std::string text = fmt::format("{:+.{}f}", change, digits);
  const bool nothing = text.find_first_of("123456789naif") == std::string::npos;  // nor nan, nor inf
  if (nothing) text[0] = '+';
  return text;
}

}  // namespace lowrank::core
