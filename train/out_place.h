// Where a result may not go: at or inside folders that are somebody's model, adapter, data set or checkout.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::train {

/// Absolute, free of links, without a trailing slash; parts that are not there yet are kept.
std::filesystem::path true_path(const std::filesystem::path& path);
/// Whether `path` is `folder` or lies under it; both as true_path() gives them.
bool at_or_inside(const std::filesystem::path& path, const std::filesystem::path& folder);

/// ConfigError when `out` is, or lies inside, one of `inputs` or a folder that is a model, an adapter, a data set that
/// the datasets library saved, or .git; or when it is the top of a checkout or holds data files. A folder inside a
/// checkout is fine (runs/art), and so is one that holds a run: that is run_state()'s matter.
/// `overwrite`: nor may one of `inputs` lie in it, which would go with the run that is there.
void check_place(const std::filesystem::path& out, const std::vector<std::filesystem::path>& inputs, bool overwrite = false);

}  // namespace lowrank::train
