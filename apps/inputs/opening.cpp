#include "lowrank/apps/inputs/opening.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/run/adapter_facts.h"

namespace lowrank::apps {

namespace fs = std::filesystem;

models::DTypeChoice dtype_asked_for(const Options& options) {
  const std::string name = options.text("dtype");
  if (name == "float32") return models::DTypeChoice::kFloat32;
  if (name == "bfloat16") return models::DTypeChoice::kBFloat16;
  return models::DTypeChoice::kAuto;
}

std::optional<fs::path> adapter_asked_for(const Options& options) {
  const models::Resolved resolved = models::resolve(options.positional(0));
  if (!options.given("adapter")) return resolved.adapter;
  recipes::refuse_adapter_as_model(options.positional(0), resolved);
  const fs::path directory = options.text("adapter");
  recipes::require_adapter(directory, "adapter");
  return directory;
}

namespace {

Opened open_base(const Options& options, const Console& console, models::DTypeChoice dtype) {
  set_threads(options);
  ConsoleProgress progress(console);
  models::LoadOptions load;
  load.dtype = dtype;
  Opened opened;
  opened.model = models::load(options.positional(0), load, &progress);
  return opened;
}

}  // namespace

Opened open_base(const Options& options, const Console& console) {
  return open_base(options, console, dtype_asked_for(options));
}

Opened open_model(const Options& options, const Console& console) {
  return open_model(options, console, dtype_asked_for(options));
}

Opened open_model(const Options& options, const Console& console, models::DTypeChoice dtype) {
  const std::optional<fs::path> adapter = adapter_asked_for(options);
  Opened opened = open_base(options, console, dtype);
  if (adapter) {
    std::vector<std::string> notes;
    opened.adapter = lora::load_peft(opened.model.decoder->slot_table(), *adapter, &notes);
    opened.adapter_path = *adapter;
    for (const std::string& note : notes) console.warning(note);
  }
  return opened;
}

std::shared_ptr<const data::Tokenizer> open_tokenizer(const std::string& model) {
  for (const char* file : {"tokenizer.json", "tokenizer.model"}) {
    if (fs::is_regular_file(fs::path(model) / file)) return data::Tokenizer::load(model);
  }
  return data::Tokenizer::load(models::resolve(model).model);
}

void set_threads(const Options& options) {
  if (options.has("threads")) at::set_num_threads(static_cast<int>(options.integer_in("threads", 1, 1024)));
}

int sequence_length(const Options& options, const models::DecoderConfig& config) {
  if (!options.has("seq-len")) return static_cast<int>(std::min<std::int64_t>(1024, config.max_positions));
  const std::int64_t length = options.integer_in("seq-len", 2, 1 << 24);
  if (length > config.max_positions) {
    options.fail("seq-len", fmt::format("{} is more than the {} positions the model was made for; give {} or less",
                                        length, config.max_positions, config.max_positions));
  }
  return static_cast<int>(length);
}

std::vector<std::pair<std::string, std::string>> describe(const models::LoadedModel& model) {
  const models::DecoderConfig& config = model.decoder->config();
  return {{"model", fmt::format("{} ({}, {} parameters)", model.name, config.model_type,
                                core::format_count(config.parameter_count()))},
          {"dtype", model.dtype_reason}};
}

std::pair<std::string, std::string> describe(const lora::Adapter& adapter, const fs::path& path) {
  return {"adapter", fmt::format("{} ({}rank {}, {} parameters on {} modules{})", path.string(),
                                 adapter.config().use_dora ? "DoRA, " : "", adapter.config().r,
                                 core::format_count(adapter.parameter_count()), adapter.slots().size(),
                                 recipes::also_trained(adapter))};
}

std::vector<std::pair<std::string, std::string>> describe(const Opened& opened) {
  std::vector<std::pair<std::string, std::string>> rows = describe(opened.model);
  if (opened.adapter) rows.push_back(describe(*opened.adapter, opened.adapter_path));
  return rows;
}

}  // namespace lowrank::apps
