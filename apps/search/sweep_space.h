// SPACE.yaml of `lowrank sweep`.
#pragma once

#include <filesystem>

#include "lowrank/apps/console/options.h"
#include "lowrank/train/search_space.h"

namespace lowrank::apps {

/// A mapping of option names of `verb` to what they may be:
///     lr: {log: [1e-5, 1e-2]}   dropout: {uniform: [0, 0.3], points: 4}   rank: {choice: [1, 4, 16]}
///     init: {choice: [default, gaussian], when: {rank: [4, 16]}}
/// ConfigError with file and line for everything else; names that are wrong get the nearest that is right.
train::SearchSpace read_space(const std::filesystem::path& file, const Verb& verb);

}  // namespace lowrank::apps
