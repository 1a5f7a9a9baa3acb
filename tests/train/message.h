// The message of the error of type E that f throws; "" when it throws none. (Catch2 v2 and v3 name their matchers
// differently.)
#pragma once

#include <string>

namespace lowrank_test {

template <typename E, typename F>
std::string message_of(F f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace lowrank_test
