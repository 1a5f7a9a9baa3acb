// Private to data/: the files of a folder of tokens (token_store.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

constexpr const char *kIds = "ids.bin", *kLearned = "learned.bin", *kItems = "items.bin", *kProgress = "progress.jsonl",
                     *kDocuments = "documents.bin", *kExamples = "examples.bin", *kSummary = "tokens.json";

struct StoredDocument {
  std::int64_t number;  // of Place
  std::uint32_t file;   // of the names of files
  std::uint32_t source;
  std::uint32_t unit;
  std::uint32_t duplicate;
};
static_assert(sizeof(StoredDocument) == 24);

constexpr std::uint64_t kAllLearned = ~std::uint64_t{0};
struct StoredExample {
  std::uint64_t ids;      // first token
  std::uint64_t learned;  // first byte, or kAllLearned
  std::uint32_t length;   // tokens
  std::uint32_t document;
  std::uint32_t cut;
  std::uint32_t counted;
};
static_assert(sizeof(StoredExample) == 32);

/// What is known of a folder beside what lies in its files.
struct StoredNames {
  std::vector<std::string> files;  // that documents lie in
  std::size_t longest = 0;         // tokens of an example
};

/// Gives `dataset` the documents of a folder, and its examples, mapped. DataError where the files do not fit together.
void map_tokens(const std::filesystem::path& folder, const StoredNames& names, Dataset& dataset);

/// tokens.json of what was written: report, weights, names, and each file's size, time and hash.
core::Json summary_of(const Dataset& dataset, const StoredNames& names, const std::filesystem::path& folder);

}  // namespace lowrank::data
