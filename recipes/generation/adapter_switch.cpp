#include "lowrank/recipes/generation/adapter_switch.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lowrank/core/text.h"
#include "lowrank/recipes/run/adapter_facts.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

std::string folder_name(const fs::path& path) {
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

/// [NAME=]DIR; a folder that exists as it is written is a folder, '=' or not. Without NAME= the name is empty.
NamedAdapter parse(const std::string& word) {
  const std::size_t equals = word.find('=');
  std::error_code ignored;
  if (equals == std::string::npos || word.find('/') < equals || fs::exists(word, ignored)) return {"", word};
  return {word.substr(0, equals), word.substr(equals + 1)};
}

void check_name(const NamedAdapter& adapter) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; };
  const std::string& name = adapter.name;
  if (name.empty() || !std::all_of(name.begin(), name.end(), allowed)) {
    throw FieldError("adapter", fmt::format("'{}' cannot be a name (letters, digits, - and _ can); give one as NAME={}",
                                            core::printable(name), adapter.directory.string()));
  }
  if (name == AdapterSwitch::kBase)
    throw FieldError("adapter", "'base' means the model without adapters; choose another name");
}

}  // namespace

std::vector<NamedAdapter> named_adapters(const std::string& model, const std::vector<std::string>& words) {
  const models::Resolved resolved = models::resolve(model);
  std::vector<NamedAdapter> adapters;
  if (words.empty()) {
    if (resolved.adapter) adapters.push_back({lora::kDefaultAdapter, *resolved.adapter});
    return adapters;
  }
  refuse_adapter_as_model(model, resolved);
  for (const std::string& word : words) adapters.push_back(parse(word));
  for (NamedAdapter& adapter : adapters) {
    if (adapter.name.empty())
      adapter.name = adapters.size() == 1 ? lora::kDefaultAdapter : folder_name(adapter.directory);
    check_name(adapter);
    const auto same = std::count_if(adapters.begin(), adapters.end(),
                                    [&](const NamedAdapter& other) { return other.name == adapter.name; });
    if (same > 1)
      throw FieldError("adapter", fmt::format("two are called '{}'; give each its own name as NAME=DIR", adapter.name));
    adapter.directory = adapter_folder(adapter.directory, "adapter");
  }
  return adapters;
}

AdapterSwitch::AdapterSwitch(models::DecoderImpl& decoder, const std::vector<NamedAdapter>& adapters,
                             core::ProgressObserver& progress)
    : named_(adapters) {
  const lora::SlotTable table = decoder.slot_table();
  for (const NamedAdapter& adapter : named_) {
    refuse_own_tokens(adapter.directory, decoder);
    std::vector<std::string> notes;
    adapters_.push_back(lora::load_peft(table, adapter.directory, &notes, adapter.name));
    adapters_.back().set_enabled(false);
    for (const std::string& note : notes) progress.warning(note);
  }
  if (!named_.empty()) use(named_.front().name);
}

std::vector<std::string> AdapterSwitch::names() const {
  std::vector<std::string> names;
  for (const NamedAdapter& adapter : named_) names.push_back(adapter.name);
  names.emplace_back(kBase);
  return names;
}

void AdapterSwitch::check(const std::string& name) const {
  const std::vector<std::string> all = names();
  if (std::find(all.begin(), all.end(), name) != all.end()) return;
  const std::string nearest = core::did_you_mean(name, all);
  throw ConfigError(fmt::format("no adapter is called '{}'{}", core::printable(name),
                                nearest.empty() ? fmt::format("; there are {}", fmt::join(all, ", ")) : nearest));
}

void AdapterSwitch::use(const std::string& name) {
  check(name);
  for (lora::Adapter& adapter : adapters_) adapter.set_enabled(adapter.name() == name);
  current_ = name;
}

std::optional<fs::path> AdapterSwitch::directory(const std::string& name) const {
  for (const NamedAdapter& adapter : named_) {
    if (adapter.name == name) return adapter.directory;
  }
  return std::nullopt;
}

std::vector<std::pair<std::string, std::string>> AdapterSwitch::describe() const {
  std::vector<std::pair<std::string, std::string>> rows;
  for (std::size_t i = 0; i < named_.size(); ++i) {
    const lora::Adapter& adapter = adapters_[i];
    rows.emplace_back(
        named_.size() == 1 ? "adapter" : "adapter " + named_[i].name,
        fmt::format("{} (rank {}, {} parameters on {} modules{})", named_[i].directory.string(), adapter.config().r,
                    core::format_count(adapter.parameter_count()), adapter.slots().size(), also_trained(adapter)));
  }
  return rows;
}

}  // namespace lowrank::recipes
