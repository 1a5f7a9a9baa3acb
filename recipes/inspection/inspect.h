// What is in a model, an adapter, a checkpoint, a file or a data set: facts as JSON, and the same as text for people.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"

namespace lowrank::recipes {

struct Inspection {
  core::Json json;  // "kind" says what it is
  std::string text;
};

/// A model folder: config, parameters, dtypes, files. `tensors`: every tensor too.
Inspection inspect_model(const std::filesystem::path& directory, bool tensors);
/// A .safetensors file.
Inspection inspect_safetensors(const std::filesystem::path& file);
/// A PEFT adapter: config, sizes, norms of A, B and s·BA per layer, whether all is finite.
Inspection inspect_adapter(const std::filesystem::path& directory, bool tensors);
/// A checkpoint of a run: whether its manifest holds, where the run stood, and the adapter or model in it.
Inspection inspect_checkpoint(const std::filesystem::path& directory, bool tensors);
/// Whatever of these lies at a path, or the model that it names. ConfigError for what is none of them.
Inspection inspect_path(const std::filesystem::path& path, bool tensors);

/// How text shows what is seen but not learned: tokens' text, their ids; and titles.
struct Marks {
  std::function<std::string(const std::string&)> masked, masked_id, title;
  std::string legend;  // a line that explains them
};
/// The first `examples` examples: ids, text, and which of it is learned.
Inspection inspect_data(const data::Dataset& dataset, const data::Tokenizer& tokenizer, std::int64_t examples,
                        const Marks& marks);

}  // namespace lowrank::recipes
