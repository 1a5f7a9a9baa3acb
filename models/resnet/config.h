// config.json of an image classifier of the ResNet family (He et al. 2015), as transformers writes it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/core/json.h"

namespace lowrank::models {

/// transformers' ResNetConfig, with its defaults.
struct ResNetConfig {
  std::int64_t num_channels = 3, embedding_size = 64;
  std::vector<std::int64_t> hidden_sizes = {256, 512, 1024, 2048}, depths = {3, 4, 6, 3};  // one a stage
  bool bottleneck = true;                                                                  // layer_type; false: basic
  bool downsample_in_first_stage = false, downsample_in_bottleneck = false;
  std::vector<std::string> labels;  // id2label in its order
};

/// FormatError for a value that cannot be, ModelError for another model_type or an activation that is not relu.
ResNetConfig parse_resnet_config(const core::JsonView& json);
std::string resnet_config_json(const ResNetConfig& config);

}  // namespace lowrank::models
