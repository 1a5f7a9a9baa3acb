// What a report shows of the data: beginnings that models continue, and which tokens are learned.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/eval/compare.h"
#include "lowrank/eval/report.h"
#include "lowrank/models/load.h"

namespace lowrank::recipes {

/// A beginning of an example, as tokens and as text.
struct SamplePrompt {
  std::vector<data::TokenId> ids;
  std::string text;
};

/// From `count` examples spread evenly over the set: of a row what is not learned, of a text its first tokens.
/// Beginnings that leave no room for a continuation within `positions` are passed over.
std::vector<SamplePrompt> sample_prompts(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                                         std::int64_t positions, int count);

/// Each prompt with every candidate's greedy continuation, in order, up to the model's end tokens or one of `ends`.
/// Adapters are off afterwards.
std::vector<eval::Sample> continue_prompts(const std::vector<SamplePrompt>& prompts,
                                           const std::vector<eval::Candidate>& candidates,
                                           const data::Tokenizer& tokenizer,
                                           const std::vector<data::TokenId>& ends = {});

/// For when a run has ended: beginnings of `dataset` continued by the model as the run found it ("before"), and by
/// `model` as it is then ("after"). Before is `model` with `adapter` off; it is read afresh where its own weights were
/// trained (no adapter) or the run went on from the adapter in `start`. `model` and `adapter` must live until it is
/// called.
std::function<std::vector<eval::Sample>()> before_and_after(const models::LoadedModel& model, lora::Adapter* adapter,
                                                            const std::optional<std::filesystem::path>& start,
                                                            const data::Dataset& dataset, int count,
                                                            const std::vector<data::TokenId>& ends = {});

/// The tokens of the first examples (a part of long ones), each learned or not.
std::vector<eval::MaskedText> label_masks(const data::Dataset& dataset, const data::Tokenizer& tokenizer,
                                          std::size_t count = 3);

}  // namespace lowrank::recipes
