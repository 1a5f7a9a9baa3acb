// What the verbs that use a model begin with: MODEL and --adapter as the user gave them, loaded and attached.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"

namespace lowrank::apps {

struct Opened {
  models::LoadedModel model;
  std::optional<lora::Adapter> adapter;
  std::filesystem::path adapter_path;  // empty without an adapter
  models::DecoderImpl& decoder() { return *model.decoder; }
  const data::Tokenizer& tokenizer() const { return *model.tokenizer; }
};

/// The adapter folder that --adapter names, or that MODEL is. ConfigError when both are given, MissingError when it is
/// not there.
std::optional<std::filesystem::path> adapter_asked_for(const Options& options);

models::DTypeChoice dtype_asked_for(const Options& options);

/// --threads, --dtype and positional 0, without an adapter.
Opened open_base(const Options& options, const Console& console);
/// --threads, --dtype, positional 0 and --adapter. Warnings and notes go to the console.
Opened open_model(const Options& options, const Console& console);
/// The same with the dtype decided by the caller.
Opened open_model(const Options& options, const Console& console, models::DTypeChoice dtype);

/// The tokenizer of MODEL; a folder with tokenizer files alone will do.
std::shared_ptr<const data::Tokenizer> open_tokenizer(const std::string& model);

/// --threads for LibTorch's pool.
void set_threads(const Options& options);

/// --seq-len, or min(1024, the model's positions); ConfigError where it exceeds them.
int sequence_length(const Options& options, const models::DecoderConfig& config);

/// For the opening lines: model, dtype with its reason.
std::vector<std::pair<std::string, std::string>> describe(const models::LoadedModel& model);
std::pair<std::string, std::string> describe(const lora::Adapter& adapter, const std::filesystem::path& path);
/// What was opened: these and the adapter.
std::vector<std::pair<std::string, std::string>> describe(const Opened& opened);

}  // namespace lowrank::apps
