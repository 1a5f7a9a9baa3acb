// What the tests of the verbs share: the real small model, an adapter for it, and the command's JSON.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "catch.h"
#include "command.h"
#include "lowrank/core/json.h"
#include "lowrank/core/random.h"
#include "lowrank/formats/safetensors.h"

namespace lowrank_test {

using lowrank::core::Json;

inline std::string stories() { return (*assets() / "models" / "stories260K-hf").string(); }

/// Runs with --json and gives the object; the command must succeed and write nothing else to stdout.
inline Json run_json(std::vector<std::string> arguments, const std::string& input = {}) {
  arguments.emplace_back("--json");
  const CommandResult result = run(arguments, {}, input);
  INFO(result.err);
  INFO(result.out);
  REQUIRE(result.exit == 0);
  return lowrank::core::parse_json(result.out, "stdout");
}

/// An fp32 tensor of normal numbers times `scale`, for write_safetensors.
inline lowrank::formats::TensorToWrite random_tensor(const std::string& name, std::int64_t rows, std::int64_t columns,
                                                     double scale) {
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  const lowrank::core::RandomStream stream(7, name);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(scale * stream.normal(i));
  return {name, lowrank::formats::DType::kF32, {rows, columns}, [values](const auto& sink) {
            sink(std::as_bytes(std::span<const float>(values)));
          }};
}

/// A PEFT adapter for stories260K: rank 4, alpha 8, on q_proj and down_proj of its five layers. `b_scale` 0: changes
/// nothing.
inline void write_adapter(const fs::path& directory, double b_scale) {
  fs::create_directories(directory);
  std::vector<lowrank::formats::TensorToWrite> tensors;
  for (int layer = 0; layer < 5; ++layer) {
    const std::string prefix = "base_model.model.model.layers." + std::to_string(layer) + ".";
    tensors.push_back(random_tensor(prefix + "self_attn.q_proj.lora_A.weight", 4, 64, 0.1));
    tensors.push_back(random_tensor(prefix + "self_attn.q_proj.lora_B.weight", 64, 4, b_scale));
    tensors.push_back(random_tensor(prefix + "mlp.down_proj.lora_A.weight", 4, 172, 0.1));
    tensors.push_back(random_tensor(prefix + "mlp.down_proj.lora_B.weight", 64, 4, b_scale));
  }
  lowrank::formats::write_safetensors(directory / "adapter_model.safetensors", std::move(tensors));
  const Json config = {{"base_model_name_or_path", stories()},
                       {"bias", "none"},
                       {"fan_in_fan_out", false},
                       {"init_lora_weights", true},
                       {"lora_alpha", 8},
                       {"lora_dropout", 0.0},
                       {"peft_type", "LORA"},
                       {"r", 4},
                       {"target_modules", {"q_proj", "down_proj"}},
                       {"task_type", "CAUSAL_LM"}};
  write_text(directory / "adapter_config.json", config.dump(2));
}

/// stories260K's folder copied, so that a test may change it.
inline fs::path copy_of_stories(const fs::path& directory) {
  fs::create_directories(directory);
  for (const auto& entry : fs::directory_iterator(stories())) {
    write_text(directory / entry.path().filename(), read_text(entry.path()));
  }
  return directory;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace lowrank_test
