// Numbers read and written in no locale: a program that uses the library may have set one, in which strtod and std::stod
// want a comma.
#pragma once

#include <string>

namespace lowrank::core {

/// The number that a text begins with, 0 where it begins with none; beyond all doubles it is an infinity, as Python has it (1e999).
double read_double(const std::string& text);

/// A change with its sign and so many digits behind the point, "+3.2", "-0.1"; what rounds to nothing is "+0.0".
std::string format_change(double change, int digits = 1);

}  // namespace lowrank::core
