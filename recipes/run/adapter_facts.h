// What is asked and said of adapters, by recipes and by the command.
#pragma once

#include <filesystem>
#include <string>

#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"

namespace lowrank::recipes {

/// FieldError by `adapter` where MODEL is itself an adapter: the field does not go with it.
void refuse_adapter_as_model(const std::string& model, const models::Resolved& resolved);

/// MissingError when there is no adapter in the folder that a field names.
std::filesystem::path adapter_folder(const std::filesystem::path& adapter, const std::string& field);

/// ConfigError where the adapter in this folder brings rows of the vocabulary that the loaded model lacks: they are taken
/// as the model is loaded, for one adapter alone, and a model that several share has none of theirs.
void refuse_own_tokens(const std::filesystem::path& adapter, const models::DecoderImpl& model);

/// Whether any of the biases that its base has are trained.
bool trains_bias(const lora::Adapter& adapter);

/// What an adapter trains beside A and B of linear layers, in words that follow those: "; the embedding; whole:
/// model.norm; 12 biases". Empty: nothing.
std::string also_trained(const lora::Adapter& adapter);

}  // namespace lowrank::recipes
