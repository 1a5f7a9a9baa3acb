// Grapheme clusters: what a reader takes for one character.
#pragma once

#include <cstddef>
#include <string_view>

namespace lowrank::data {

/// The end of the extended grapheme cluster that begins at `at` (UAX 29), as far as clusters of less than six bytes go:
/// conjuncts of Indic scripts, which are longer, are cut at their consonants.
std::size_t grapheme_end(std::string_view text, std::size_t at);

}  // namespace lowrank::data
