// What a run reads, as it lay there: so that one that is asked for again is known to be of the same.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

/// For run.json: by option ("data", "adapter", …), and as "MODEL" and "MODEL's settings", the files with their sizes and times, and a
/// hash of their contents where that takes no time beside the run (the base's weights have theirs in run.json's "model"). Options whose files cannot be
/// listed, such as standard input, are not in it. `model`: its folder; empty: none. `adapter`: that the run starts from.
core::Json inputs_of(const Fields& fields, const std::filesystem::path& model, const std::optional<std::filesystem::path>& adapter);

/// Why the files that are there now by this option are not those of `run` (a run.json), in words; empty where they are, where
/// either is not known, or nothing is there any more. Equal sizes and times count as equal; else contents are compared.
std::string changed_input(const core::Json& run, const std::string& option, const Fields& fields, const std::filesystem::path& model,
                          const std::optional<std::filesystem::path>& adapter);

}  // namespace lowrank::recipes
