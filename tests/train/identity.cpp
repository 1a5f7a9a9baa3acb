#include "lowrank/train/identity.h"

#include "catch.h"

using namespace lowrank;

TEST_CASE("what the caller says of an option wins over the trainer's own", "[unit]") {
  train::TrainOptions options;
  const auto identity = train::complete_identity({{"--lr", "2e-4"}}, options, 10);
  CHECK(identity["--lr"] == "2e-4");
  CHECK(identity["--clip"] == 1.0);
  CHECK(identity["optimiser steps"] == 10);
  CHECK(train::identity_differences(identity, identity).empty());
  auto other = identity;
  other.erase("--clip");
  CHECK(train::identity_differences(identity, other) == std::vector<std::string>{"--clip: 1.0 then, not set now"});
}
