// Private to data/: the files of a folder of tokens (token_store.h).
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

constexpr const char *kIds = "ids.bin", *kLearned = "learned.bin", *kItems = "items.bin", *kProgress = "progress.jsonl",
                     *kDocuments = "documents.bin", *kExamples = "examples.bin", *kSummary = "tokens.json";

/// Gives `dataset` the documents and the examples of a folder, mapped. DataError where a file ends within a record.
void map_tokens(const std::filesystem::path& folder, const StoredNames& names, Dataset& dataset);

using StoredHashes = std::map<std::string, std::string>;  // SHA-256 of each file, by its name

/// tokens.json of what was written: report, weights, names, those of the sources, and each file's size, time and hash.
core::Json summary_of(const Dataset& dataset, const StoredNames& names, const std::vector<std::string>& sources,
                      const std::filesystem::path& folder, const StoredHashes& hashes);

}  // namespace lowrank::data
