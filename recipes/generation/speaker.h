// What a model with an adapter speaks: its tokenizer, the layout of its conversations, and how its answers end.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

struct Speaker {
  std::shared_ptr<const data::Tokenizer> tokenizer;
  std::shared_ptr<const data::ChatLayout> layout;
  std::vector<data::TokenId> end_ids;    // beside the model's own: of the adapter's generation_config.json
  std::vector<data::TokenId> turn_ends;  // of conversations: these and the end of a turn
};

/// The adapter's own files where it has them, else the model's. Errors as chat_layout() and adapter_tokenizer().
Speaker speaker_of(const models::LoadedModel& model, const std::optional<std::filesystem::path>& adapter,
                   const ChatSpec& chat);

}  // namespace lowrank::recipes
