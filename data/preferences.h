// From files of preference pairs to examples.
#pragma once

#include <filesystem>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// Reads .jsonl and .json files (and folders of .jsonl) of preference pairs, in the forms of PairReader. The examples
/// come in twos: example 2i is the chosen side of pair i, 2i + 1 the rejected one, both of the same document; learned
/// are the answer's tokens and its end token. A side is cut at `seq_len` tokens; pairs that the cut left nothing to
/// compare of are dropped and counted as all masked. `chat`: of conversations; null: chat_layout_of() the tokenizer.
/// `judged`: for a judge (rewards), which reads answers and writes none, as PairReader has it; none need reach its end.
/// Throws as `load` does, and DataError for equal sides.
Dataset load_preferences(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, int seq_len,
                         core::ProgressObserver* progress = nullptr, std::shared_ptr<const ChatLayout> chat = nullptr,
                         const FileOptions& files = {}, bool judged = false);

/// Pairs of a Dataset that load_preferences made.
std::int64_t pair_count(const Dataset& pairs);

/// Share of pairs whose chosen answer has fewer tokens than the rejected one (equal ones count half): what a judge who
/// looks at length alone would score.
double shorter_wins(const Dataset& pairs);

/// Held-out pairs, chosen by the seed; none where there are fewer than twenty.
Split split_preferences(const Dataset& pairs, double fraction, std::uint64_t seed);

}  // namespace lowrank::data
