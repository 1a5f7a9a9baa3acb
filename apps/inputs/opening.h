// What the verbs that use a model begin with: MODEL and --adapter as the user gave them, loaded and attached.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/data/row_map.h"
#include "lowrank/recipes/generation/adapter_switch.h"
#include "lowrank/recipes/run/opened.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::apps {

using recipes::describe;
using recipes::Opened;

/// The adapter folder that --adapter names, or that MODEL is. ConfigError when both are given, MissingError when it is
/// not there.
std::optional<std::filesystem::path> adapter_asked_for(const Options& options);

/// --dtype, --base-dtype and --device.
models::LoadOptions loading_asked_for(const Options& options);

/// --threads, --dtype, --base-dtype, --device and positional 0, without an adapter; with the rows of the one that is `to_come`, where it brings
/// more of them.
Opened open_base(const Options& options, const Console& console, const std::vector<recipes::NamedAdapter>& to_come);
/// --threads, positional 0 (as the files have it) and --adapter. Warnings and notes go to the console.
Opened open_model(const Options& options, const Console& console, models::DTypeChoice dtype);

/// --chat-template, --template-arg, --date and, where the verb has it, --loss-on.
recipes::ChatSpec chat_asked_for(const Options& options);

/// The tokenizer of MODEL; a folder with tokenizer files alone will do.
std::shared_ptr<const data::Tokenizer> open_tokenizer(const std::string& model);

/// What --columns and --layout make of rows, where the verb has them; null: nothing.
std::shared_ptr<const data::RowMap> row_map_asked_for(const Options& options);

/// The text of a file as it is; "-": of standard input.
std::string named_text(const std::string& file);

/// --threads for LibTorch's pool.
void set_threads(const Options& options);

/// --seq-len, or min(1024, the model's positions); ConfigError where it exceeds them.
int sequence_length(const Options& options, const models::DecoderConfig& config);

}  // namespace lowrank::apps
