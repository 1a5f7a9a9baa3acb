// A finished run that is asked for again: whether it is what is asked for.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

struct Difference {
  std::string name;  // of a field, or "MODEL"
  core::Json was, is;
  std::string words = {};  // of what has one name and other contents: how
};

/// The options of the run in `out` by its run.json, under the keys of Fields::identity(); empty where it has none.
core::Json options_of_run(const std::filesystem::path& out);

/// What of `before`, keyed as Fields::identity(), the fields have otherwise.
std::vector<Difference> differences(const core::Json& before, const Fields& fields);

/// What the run in `out` read, by its run.json, and is to read now: data, tokens, an adapter, and the model in this folder
/// (empty: none). Equal are the same files, and where the earlier ones are gone, those of one name, with the contents that the run
/// found in them (run_inputs.h). `adapter`: that a new run would start from.
std::vector<Difference> other_inputs(const std::filesystem::path& out, const Fields& fields, const std::filesystem::path& model,
                                     const std::optional<std::filesystem::path>& adapter);

/// "options", "inputs" (of one name, and other contents), or "options and inputs".
std::string kinds_of(const std::vector<Difference>& found);

/// "`lr` not given, now 0.001; …".
std::string in_words(const std::vector<Difference>& found);

/// Puts files of a finished run's result that are gone from the top of its folder back there, out of the checkpoint that it was; what
/// was done, in words, or empty where nothing was missing. ConfigError where no checkpoint holds them.
std::string restore_result(const std::filesystem::path& out);

}  // namespace lowrank::recipes
