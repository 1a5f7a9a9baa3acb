// Score heads: a new one, those of PEFT folders, and the names of the labels beside them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/models/load.h"
#include "lowrank/models/sequence_classifier.h"

namespace lowrank::models {

/// A head of a model for so many labels: the model's own `score.weight` where it has one of that shape, else
/// normal(0, initializer_range) by the seed, as transformers makes a new one.
SequenceClassifier new_classifier(const LoadedModel& model, std::int64_t labels, std::uint64_t seed);

/// Labels of the head in a PEFT folder. MissingError where it has no weights, ModelError where they have no head that
/// fits.
std::int64_t saved_labels(const std::filesystem::path& directory, const DecoderImpl& decoder);

/// Labels of the score head that a model has itself; 0 where it has none.
std::int64_t own_labels(const LoadedModel& model);

struct LoadedClassifier {
  SequenceClassifier classifier;
  lora::Adapter adapter;
};
/// A PEFT folder of a sequence classifier (`modules_to_save` has "score") onto a decoder. Throws as saved_labels and
/// lora::load_peft do.
LoadedClassifier load_classifier(const Decoder& decoder, const std::filesystem::path& directory,
                                 std::vector<std::string>* notes = nullptr,
                                 const std::string& name = lora::kDefaultAdapter);

/// label2id.json, {"name": number}, beside the adapter; PEFT passes over it.
void write_labels(const std::filesystem::path& directory, const std::vector<std::string>& labels);
/// The names in it by number; where there is no such file those of "label2id" in config.json, else "0", "1" ….
/// FormatError where they are not `count` labels.
std::vector<std::string> read_labels(const std::filesystem::path& directory, std::int64_t count);

}  // namespace lowrank::models
