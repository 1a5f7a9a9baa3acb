#include "lowrank/core/number.h"

#include <clocale>
#include <cmath>

#include "catch.h"

using lowrank::core::format_change;
using lowrank::core::read_double;

TEST_CASE("a number is read alike in every locale", "[unit]") {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  for (const char* name : {"C", "de_DE.UTF-8", "fr_FR.UTF-8", "tr_TR.UTF-8"}) {  // those that the machine has
    if (std::setlocale(LC_ALL, name) == nullptr) continue;
    INFO(name);
    CHECK(read_double("0.000123457") == 0.000123457);
    CHECK(read_double("1.5e-4") == 1.5e-4);
    CHECK(read_double("1.5e999") == HUGE_VAL);
    CHECK(read_double("1e-999") == 0.0);
    CHECK(read_double("none") == 0.0);
  }
  std::setlocale(LC_ALL, before.c_str());
}

TEST_CASE("a change that rounds to nothing has one sign", "[unit]") {
  CHECK(format_change(3.24) == "+3.2");
  CHECK(format_change(-0.06) == "-0.1");
  CHECK(format_change(-0.04) == "+0.0");
  CHECK(format_change(0.0) == "+0.0");
  CHECK(format_change(-0.00001, 4) == "+0.0000");
  CHECK(format_change(-10.0, 0) == "-10");
  CHECK(format_change(-HUGE_VAL) == "-inf");
}
