// A finished run that is asked for again: whether it is what is asked for.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

struct Difference {
  std::string name;  // of a field, or "MODEL"
  core::Json was, is;
};

/// The options of the run in `out` by its run.json, under the keys of Fields::identity(); empty where it has none.
core::Json options_of_run(const std::filesystem::path& out);

/// What of `before`, keyed as Fields::identity(), the fields have otherwise.
std::vector<Difference> differences(const core::Json& before, const Fields& fields);

/// What the run in `out` read, by its run.json, and is to read now: data, tokens, an adapter, and the model in this folder
/// (empty: none). Nothing is opened: equal are the same files, and where the earlier ones are gone, those of one name.
std::vector<Difference> other_inputs(const std::filesystem::path& out, const Fields& fields, const std::filesystem::path& model);

/// "`lr` not given, now 0.001; …".
std::string in_words(const std::vector<Difference>& found);

}  // namespace lowrank::recipes
