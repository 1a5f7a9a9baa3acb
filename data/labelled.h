// Texts with a label each, for classification.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// One example a text; "learned" is its last token, at which the label is read off.
struct LabelledTexts {
  Dataset texts;
  std::vector<std::string> labels;    // every label there is, in order
  std::vector<std::int64_t> classes;  // of each document: which of the labels

  std::int64_t class_of(const Example& example) const { return classes[example.document]; }
  /// Examples of each class in `part`, which has the documents of `texts`.
  std::vector<std::int64_t> counts(const Dataset& part) const;
};

/// Rows of .jsonl and .json: {"text", "label"} or {"text", "labels"}, the label a string (without blanks at its ends), a whole
/// number (1.0 too) or a truth value, which is the label "true" or "false". A text is
/// tokenized as it stands (BOS and EOS where the tokenizer adds them) and cut at its end to `seq_len` tokens; blank
/// ones are dropped and counted. A conversation ("messages" and its other names) in place of the text is laid out whole
/// by `chat` (null: chat_layout_of() the tokenizer). `labels`: those there are; empty: the different ones of the data,
/// sorted (as numbers where all are). Throws as `load` does; DataError with file and line for a row without text or
/// label, and for a label that is not among `labels`; DataError when no text is left.
LabelledTexts load_labelled(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, int seq_len,
                            const std::vector<std::string>& labels = {},
                            std::shared_ptr<const ChatLayout> chat = nullptr, const FileOptions& files = {});

/// A share of the texts of every class, chosen by the seed: round(fraction · n) of each, at least one of a class of two
/// or more. None where there are fewer than twenty texts.
Split split_labelled(const LabelledTexts& all, double fraction, std::uint64_t seed);

}  // namespace lowrank::data
