// Numbers read in no locale: a program that uses the library may have set one, in which strtod and std::stod want a comma.
#pragma once

#include <string>

namespace lowrank::core {

/// The number that a text begins with, 0 where it begins with none; beyond all doubles it is an infinity, as Python has it (1e999).
double read_double(const std::string& text);

}  // namespace lowrank::core
