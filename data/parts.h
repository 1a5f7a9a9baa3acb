// Parts of a data set: cross-validation folds and nested shares, by document and by the seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// The documents that have examples, in order.
std::vector<std::uint32_t> documents_of(const Dataset& all, int threads = 1);

/// The examples that are chosen, in their order, and a report that counts them alone.
Dataset part_of(const Dataset& all, const std::vector<bool>& chosen, int threads = 1);

/// Parts `all` into the examples that are `held` (validation) and the others. What was said once of the whole, notes
/// and dropped documents, stays with the training part.
void hold_out(const Dataset& all, const std::vector<bool>& held, Split& split, int threads = 1);

/// Takes the examples that are `held` out of `all`, which keeps the others in the same memory. What is taken of a data set
/// in memory has the documents of its examples alone; those of a document stand together.
Dataset take_out(Dataset& all, const std::vector<bool>& held, int threads = 1);

/// split() in place: gives the validation part, of which there may be nothing, and leaves the training part in `all`.
/// `how`: as that of a Split. Millions of examples take two `threads`.
Dataset take_validation(Dataset& all, double fraction, std::uint64_t seed, std::string& how, int threads = 1);

/// Fold `index` (from 1) of `folds`: the documents are dealt in the seed's order, every `folds`-th is validation. Over
/// all folds each document is validation once. ConfigError with fewer documents than folds.
Split fold(const Dataset& all, int index, int folds, std::uint64_t seed);

/// ⌈share · n⌉ of the documents in the seed's order (of the pieces, where there are fewer than 8 documents): a smaller
/// share is part of a larger one. `share` in (0, 1].
Dataset share_of(const Dataset& all, double share, std::uint64_t seed);

}  // namespace lowrank::data
