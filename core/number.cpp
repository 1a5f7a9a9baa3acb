#include "lowrank/core/number.h"

#include <locale.h>

#include <cstdlib>

namespace lowrank::core {

double read_double(const std::string& text) {
  static const locale_t kPlain = ::newlocale(LC_ALL_MASK, "C", nullptr);
  return ::strtod_l(text.c_str(), nullptr, kPlain);
}

}  // namespace lowrank::core
