// Rotary positions as config.json has them. Private to models/.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "lowrank/models/rope.h"

namespace lowrank::models {

inline constexpr std::array<std::pair<std::string_view, RopeScaling::Kind>, 7> kRopeKinds = {
    {{"default", RopeScaling::Kind::kDefault},
     {"linear", RopeScaling::Kind::kLinear},
     {"dynamic", RopeScaling::Kind::kDynamic},
     {"yarn", RopeScaling::Kind::kYarn},
     {"longrope", RopeScaling::Kind::kLongRope},
     {"llama3", RopeScaling::Kind::kLlama3},
     {"proportional", RopeScaling::Kind::kProportional}}};

/// rope_parameters but for rope_theta, in transformers 5's words.
core::Json rope_dictionary(const RotarySpec& rope);

/// What a config.json of the same model says: in transformers 5's spelling, and beside it the older one, without which
/// transformers 4 would silently rotate by the default θ.
void write_rope(ConfigReader& keys, const RotarySpec& rope, const RopeKeys& read, std::int64_t head_dim);

}  // namespace lowrank::models
