// Letters of names, endings and headers, which are ASCII's whatever the locale.
#pragma once

#include <string>

namespace lowrank::core {

/// A to Z in lower case; every other byte as it is.
inline std::string ascii_lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace lowrank::core
