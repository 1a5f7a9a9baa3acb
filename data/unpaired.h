// Preferences that are no pairs: an answer and whether it was liked (KTO's form).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// The key of a row that says whether the answer beside it was liked: "label" or "kto_tag" with a truth value. Null:
/// the row has none.
const char* liked_key(const core::JsonView& row);

struct UnpairedRows {
  std::int64_t liked = 0, disliked = 0, others = 0;  // others: rows without such a key
  bool any() const { return liked + disliked > 0; }
  /// "1,200 rows are answers that were liked (700) or not (500) …", and what can be done with them.
  std::string text() const;
};

/// Counts them in files of rows, as finetune would read them; a file whose first row is none is not read on. Errors of
/// files and rows as of load().
UnpairedRows count_unpaired(const std::vector<std::filesystem::path>& paths, const FileOptions& files);

}  // namespace lowrank::data
