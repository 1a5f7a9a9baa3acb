// The adapters at one place of a model, each known by a name: what slots and modules of every kind keep.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"

namespace lowrank::lora {

/// What an adapter is called where nobody says otherwise, as in PEFT.
inline constexpr const char* kDefaultAdapter = "default";

/// In the order in which they came. `place` names the module in messages.
template <typename Value>
class AdapterList {
 public:
  struct Entry {
    std::string name;
    Value value;
    bool enabled = true;
  };

  bool empty() const { return entries_.empty(); }
  bool has(const std::string& adapter) const { return find(adapter) != entries_.end(); }
  /// InternalError where no adapter has this name.
  const Value& at(const std::string& adapter, const std::string& place) const {
    const auto found = find(adapter);
    if (found == entries_.end()) throw InternalError(fmt::format("{} has no adapter '{}'", place, adapter));
    return found->value;
  }
  Value& at(const std::string& adapter, const std::string& place) {
    return const_cast<Value&>(std::as_const(*this).at(adapter, place));
  }

  /// ConfigError where an adapter has this name.
  void require_free(const std::string& adapter, const std::string& place) const {
    if (has(adapter))
      throw ConfigError(fmt::format("{} already carries the adapter '{}'; detach it, or give the new one another name",
                                    place, adapter));
  }
  /// Enabled from the start. ConfigError as require_free.
  void add(const std::string& adapter, const std::string& place, Value value) {
    require_free(adapter, place);
    entries_.push_back({adapter, std::move(value)});
  }
  void remove(const std::string& adapter) {
    std::erase_if(entries_, [&](const Entry& one) { return one.name == adapter; });
  }

  /// Nothing where no adapter has this name.
  void set_enabled(bool enabled, const std::string& adapter) {
    for (Entry& one : entries_)
      if (one.name == adapter) one.enabled = enabled;
  }
  bool any_enabled() const {
    return std::any_of(entries_.begin(), entries_.end(), [](const Entry& one) { return one.enabled; });
  }
  /// The one that is enabled, null where none is. ConfigError when several are: a merged weight can hold one.
  const Value* the_enabled(const std::string& place) const {
    const Value* result = nullptr;
    for (const Entry& one : entries_) {
      if (!one.enabled) continue;
      if (result != nullptr)
        throw ConfigError(
            fmt::format("{} has several adapters enabled; disable all but the one to be merged", place));
      result = &one.value;
    }
    return result;
  }

  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }

 private:
  auto find(const std::string& adapter) const {
    return std::find_if(entries_.begin(), entries_.end(), [&](const Entry& one) { return one.name == adapter; });
  }
  std::vector<Entry> entries_;
};

}  // namespace lowrank::lora
