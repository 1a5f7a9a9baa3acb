// The chat template and the tokenizer of a run: whose they are, and what of them the result carries.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/models/config.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

/// `chat-template`, `template-arg`, `date` and `loss-on` as a request. FieldError for what they cannot be; a date that
/// is not given is left out.
data::ChatRequest chat_request(const ChatSpec& spec);

/// The layout for a model and its adapter, if any, whose own template goes before the model's. Without `date` it is
/// today.
std::shared_ptr<const data::ChatLayout> chat_layout(const ChatSpec& spec, const data::Tokenizer& tokenizer,
                                                    const std::filesystem::path& model,
                                                    const std::optional<std::filesystem::path>& adapter);

/// Files of a result, by name: what a folder must hold beside an adapter for conversations to go on as they were
/// learned.
using CarriedFiles = std::map<std::string, std::string>;

/// The layout's templates, where they are not those of the model's folder.
void carry_template(CarriedFiles& files, const data::ChatLayout& layout, const std::filesystem::path& model);
/// The tokenizer's files, where it is not the model's.
void carry_tokenizer(CarriedFiles& files, const data::Tokenizer& tokenizer, const std::filesystem::path& model);
/// generation_config.json of the model with one more token that ends an answer.
void carry_end(CarriedFiles& files, data::TokenId end, const models::DecoderConfig& config,
               const std::filesystem::path& model);
/// What an adapter's folder holds of these: tokenizer, templates, generation_config.json.
CarriedFiles carried_by(const std::filesystem::path& adapter);
void write_carried(const CarriedFiles& files, const std::filesystem::path& directory);

}  // namespace lowrank::recipes
