// CHECK_ERROR: that a call throws a lowrank::Error of one kind whose message contains a text.
#pragma once

#include <optional>
#include <string>

#include "catch.h"
#include "lowrank/core/error.h"

namespace lowrank_test {

struct Caught {
  lowrank::ErrorKind kind;
  std::string message;
};

/// What a call threw; nullopt when it returned. Exceptions that are no lowrank::Error go on, and fail the test.
template <class Call>
std::optional<Caught> caught(Call&& call) {
  try {
    call();
  } catch (const lowrank::Error& error) {
    return Caught{error.kind(), error.what()};
  }
  return std::nullopt;
}

}  // namespace lowrank_test

#define CHECK_ERROR(call, wanted_kind, part)                                      \
  do {                                                                            \
    const auto lowrank_caught = lowrank_test::caught([&] { (void)(call); });      \
    CHECKED_IF(lowrank_caught.has_value()) {                                      \
      INFO("message: " << lowrank_caught->message);                               \
      CHECK(lowrank_caught->kind == lowrank::ErrorKind::wanted_kind);             \
      CHECK(lowrank_caught->message.find(part) != std::string::npos);             \
      CHECK(lowrank_caught->message.find('\n') == std::string::npos);             \
    }                                                                             \
    if (!lowrank_caught) FAIL_CHECK("no error was thrown; expected: " << (part)); \
  } while (false)
