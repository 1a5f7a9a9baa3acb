// How much of what came of a search each option explains.
#pragma once

#include <optional>
#include <vector>

#include "lowrank/train/sampler.h"

namespace lowrank::train {

/// For each dimension of the space the share, 0 to 1, of the variance of the trials' ranks by value that a one-way
/// analysis of variance gives to it (Kruskal & Wallis 1952, on ranks, so that a trial that blew up does not decide),
/// by ε² (Kelley 1935), which chance alone brings to 0. Groups: a choice's values; a range's values in up to five
/// groups of equal size along the scale; "not there" for a dimension with a condition. Failed trials rank last. It
/// tells what options do one by one; where they act only together, all are small. Nothing for a dimension with fewer
/// than two groups, or with fewer than three trials a group on average.
std::vector<std::optional<double>> importance(const SearchSpace& space, const std::vector<Trial>& trials);

}  // namespace lowrank::train
