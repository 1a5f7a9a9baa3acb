// How much memory training takes.
#pragma once

#include <cstdint>
#include <string>

namespace lowrank::recipes {

/// Weights, gradients and the optimiser's two moments where all of these are trained, in fp32.
std::uint64_t trained_bytes(std::int64_t parameters);

/// IoError where `need` bytes are more than core::available_memory() has, a tenth aside that estimates may be wrong by.
/// `what` needs them ("the activations of ..."), `remedy` is the way out.
void refuse_beyond_memory(std::uint64_t need, const std::string& what, const std::string& remedy);

}  // namespace lowrank::recipes
