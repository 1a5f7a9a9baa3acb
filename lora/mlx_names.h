// Names of modules in mlx-lm.
#pragma once

#include <string>

namespace lowrank::lora {

/// "model.h.3.attn.c_attn" of "transformer.h.3.attn.c_attn"; most are transformers' own. ModelError for a kind of model
/// that mlx-lm (0.32) does not have.
std::string mlx_name(const std::string& path);

}  // namespace lowrank::lora
