// What a call throws, as text.
#pragma once

#include <string>

#include "lowrank/core/error.h"

namespace lowrank_test {

/// The message of the lowrank error of type E that `call` throws; "no error" when there is none. Others pass through.
template <class E, class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace lowrank_test
