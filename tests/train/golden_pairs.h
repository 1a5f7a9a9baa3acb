// Preference pairs of a golden file, {"pairs": [{"prompt", "chosen", "rejected"}]} in token ids; the answers are
// learned.
#pragma once

#include <fmt/format.h>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"

namespace lowrank_test {

inline lowrank::data::Dataset golden_pairs(const lowrank::core::Json& golden) {
  using Ids = std::vector<lowrank::data::TokenId>;
  lowrank::data::Dataset pairs;
  for (const lowrank::core::Json& row : golden["pairs"]) {
    for (const char* name : {"chosen", "rejected"}) {
      lowrank::data::Example example;
      example.ids = row["prompt"].get<Ids>();
      example.learned.assign(example.ids.size(), 0);
      const Ids answer = row[name].get<Ids>();
      example.ids.insert(example.ids.end(), answer.begin(), answer.end());
      example.learned.resize(example.ids.size(), 1);
      example.document = static_cast<std::uint32_t>(pairs.documents.size());
      pairs.examples.push_back(std::move(example));
    }
    pairs.documents.push_back({fmt::format("pairs.jsonl line {}", pairs.documents.size() + 1)});
  }
  return pairs;
}

}  // namespace lowrank_test
