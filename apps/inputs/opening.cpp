#include "lowrank/apps/inputs/opening.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

namespace lowrank::apps {

namespace fs = std::filesystem;

models::DTypeChoice dtype_asked_for(const Options& options) { return recipes::dtype_choice(options.text("dtype")); }

std::optional<fs::path> adapter_asked_for(const Options& options) {
  return recipes::adapter_of(options.positional(0),
                             options.given("adapter") ? std::optional(options.text("adapter")) : std::nullopt);
}

Opened open_base(const Options& options, const Console& console) {
  set_threads(options);
  ConsoleProgress progress(console);
  return recipes::open_model(options.positional(0), std::nullopt, dtype_asked_for(options), progress);
}

Opened open_model(const Options& options, const Console& console, models::DTypeChoice dtype) {
  const std::optional<fs::path> adapter = adapter_asked_for(options);
  set_threads(options);
  ConsoleProgress progress(console);
  return recipes::open_model(options.positional(0), adapter, dtype, progress);
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

}  // namespace lowrank::apps
