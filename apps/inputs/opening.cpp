#include "lowrank/apps/inputs/opening.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <iterator>

#include "lowrank/core/files.h"

namespace lowrank::apps {

namespace fs = std::filesystem;

models::LoadOptions loading_asked_for(const Options& options) {
  models::LoadOptions load;
  load.dtype = recipes::dtype_choice(options.text("dtype"));
  load.form = recipes::base_form(options.text("base-dtype"));
  load.device = recipes::device_of(options.text("device"));
  return load;
}

std::optional<fs::path> adapter_asked_for(const Options& options) {
  return recipes::adapter_of(options.positional(0),
                             options.given("adapter") ? std::optional(options.text("adapter")) : std::nullopt);
}

Opened open_base(const Options& options, const Console& console, const std::vector<recipes::NamedAdapter>& to_come) {
  set_threads(options);
  ConsoleProgress progress(console);
  models::LoadOptions load = loading_asked_for(options);
  if (to_come.size() == 1) load.adapter = to_come.front().directory;
  Opened opened;
  opened.model = models::load(options.positional(0), load, &progress);
  for (const recipes::NamedAdapter& one : to_come) recipes::say_other_form(one.directory, load.form, progress);
  return opened;
}

Opened open_model(const Options& options, const Console& console, models::DTypeChoice dtype) {
  const std::optional<fs::path> adapter = adapter_asked_for(options);
  set_threads(options);
  ConsoleProgress progress(console);
  return recipes::open_model(options.positional(0), adapter, {.dtype = dtype}, progress);
}

namespace {

struct Chat : recipes::Spec {
  recipes::ChatSpec chat;
};
void describe(recipes::Fields& table, Chat& spec) { recipes::describe(table, spec.chat); }

}  // namespace

recipes::ChatSpec chat_asked_for(const Options& options) {
  Chat asked;
  recipes::Fields fields = recipes::fields_of(asked);
  for (const OptionSpec& field : fields.info()) {
    if (options.given(field.name)) fields.set(field.name, options.value(field.name), options.source(field.name));
  }
  return asked.chat;
}

std::shared_ptr<const data::Tokenizer> open_tokenizer(const std::string& model) {
  if (data::Tokenizer::is_in(model)) return data::Tokenizer::load(model);
  return data::Tokenizer::load(models::resolve(model).model);
}

std::shared_ptr<const data::RowMap> row_map_asked_for(const Options& options) {
  const auto text = [&](const char* name) { return options.has(name) ? options.text(name) : std::string(); };
  return data::RowMap::parse(text("columns"), text("layout"));
}

std::string named_text(const std::string& file) {
  if (file == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  return core::read_file(core::FileRef::named(file));
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
