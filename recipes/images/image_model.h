// The image models that recipes open: network, preprocessing, the classes of an adapter.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/image_processor.h"
#include "lowrank/eval/image_scores.h"
#include "lowrank/models/load.h"
#include "lowrank/models/resnet/resnet.h"

namespace lowrank::recipes {

struct ImageModel {
  models::Resolved resolved;
  models::ResNet network;
  data::ImageProcessor processor;
};
/// MODEL, or the base of the adapter that it is.
/// Why `device` is refused beside pictures.
inline constexpr const char* kImagesOnCpu = "is for language models; networks over pictures are computed on the CPU, so leave it out";

ImageModel open_image_model(const std::string& model);

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

}  // namespace lowrank::recipes
