#include "lowrank/lora/mlx_names.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "lowrank/core/error.h"

namespace lowrank::lora {

std::string mlx_name(const std::string& path) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kBeginnings = {{
      {"model.language_model.", "language_model.model."},  // text beside pictures
      {"transformer.", "model."},                          // GPT-2
      {"gpt_neox.layers.", "model.h."},
      {"gpt_neox.", "model."},
      {"embed_out", "model.embed_out"},
  }};
  if (path.starts_with("model.decoder."))
    throw ModelError(fmt::format("mlx-lm has no model with a layer {}: merge the adapter into the model instead", path));
  for (const auto& [from, to] : kBeginnings)
    if (path.starts_with(from)) return std::string(to) + path.substr(from.size());
  return path;
}

}  // namespace lowrank::lora
