// A data set of documents of one to three pieces, and which documents a part of it holds.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "fake_tokenizer.h"
#include "lowrank/data/dataset.h"

namespace lowrank_test {

/// n documents, the i-th of i % 3 + 1 pieces of 10 tokens.
inline lowrank::data::Dataset documents(int n) {
  std::vector<std::string> texts;
  for (int i = 0; i < n; ++i) texts.push_back(std::to_string(1000 + i) + std::string(4 + 10 * (i % 3), 'x'));
  lowrank::data::DataOptions options;
  options.seq_len = 10;
  return lowrank::data::from_texts(texts, FakeTokenizer(), options);
}

inline std::set<std::uint32_t> documents_in(const lowrank::data::Dataset& part) {
  std::set<std::uint32_t> all;
  for (const lowrank::data::Example& example : part.examples) all.insert(example.document);
  return all;
}

}  // namespace lowrank_test
