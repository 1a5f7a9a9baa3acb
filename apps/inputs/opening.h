// What the verbs that use a model begin with: MODEL and --adapter as the user gave them, loaded and attached.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/recipes/run/opened.h"

namespace lowrank::apps {

using recipes::describe;
using recipes::Opened;

/// The adapter folder that --adapter names, or that MODEL is. ConfigError when both are given, MissingError when it is
/// not there.
std::optional<std::filesystem::path> adapter_asked_for(const Options& options);

models::DTypeChoice dtype_asked_for(const Options& options);

/// --threads, --dtype and positional 0, without an adapter.
Opened open_base(const Options& options, const Console& console);
/// --threads, positional 0 and --adapter. Warnings and notes go to the console.
Opened open_model(const Options& options, const Console& console, models::DTypeChoice dtype);

/// The tokenizer of MODEL; a folder with tokenizer files alone will do.
std::shared_ptr<const data::Tokenizer> open_tokenizer(const std::string& model);

/// --threads for LibTorch's pool.
void set_threads(const Options& options);

/// --seq-len, or min(1024, the model's positions); ConfigError where it exceeds them.
int sequence_length(const Options& options, const models::DecoderConfig& config);

}  // namespace lowrank::apps
