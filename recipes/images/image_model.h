// The image models that verbs open: network, preprocessing, the classes of an adapter.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/core/json.h"
#include "lowrank/data/image_processor.h"
#include "lowrank/eval/image_scores.h"
#include "lowrank/models/load.h"
#include "lowrank/models/resnet/resnet.h"

namespace lowrank::apps {

/// Whether --task is image-classification.
bool asks_for_images(const Options& options);
/// ConfigError for an option that was given and is none of `sensible`.
void refuse_options_of_text(const Options& options, const std::vector<std::string>& sensible);

struct ImageModel {
  models::Resolved resolved;
  models::ResNet network;
  data::ImageProcessor processor;
};
/// MODEL, or the base of the adapter that it is.
ImageModel open_image_model(const Options& options);

/// The classes of an adapter, labels.json in its folder: PEFT's own files do not have them.
void write_labels(const std::filesystem::path& directory, const std::vector<std::string>& labels);
/// Nothing where the folder has no such file (PEFT wrote it): the classes are then the base's.
std::optional<std::vector<std::string>> read_labels(const std::filesystem::path& directory);

/// Weights, the statistics of batch norms not counted.
std::int64_t parameter_count(models::ResNet& network);

/// {"accuracy", "macro_f1", "matthews", "labels", "confusion", "classes": {label: {"precision", "recall", "f1",
/// "support"}}}.
core::Json scores_json(const eval::Classification& scores, const std::vector<std::string>& labels);
/// The confusion matrix, a row a true class; of many classes the pairs that are confused most.
std::string confusion_text(const eval::Classification& scores, const std::vector<std::string>& labels);

}  // namespace lowrank::apps
