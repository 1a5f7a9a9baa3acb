// Several adapters on one base, loaded by name and switched.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"

namespace lowrank::recipes {

struct NamedAdapter {
  std::string name;
  std::filesystem::path directory;
};

/// What words [NAME=]DIR name, in order, or without any the adapter that MODEL is. Without NAME= a single one is called
/// "default", and each of several as its folder. FieldError for a name that is taken or is none and for words beside a
/// MODEL that is an adapter, MissingError for a folder without adapter.
std::vector<NamedAdapter> named_adapters(const std::string& model, const std::vector<std::string>& words);

/// The adapters of a model, at most one of which acts: at first the first.
class AdapterSwitch {
 public:
  /// The name under which the base alone is meant.
  static constexpr const char* kBase = "base";

  /// Loads and attaches them; notes are warnings of `progress`. `decoder` must outlive the switch.
  AdapterSwitch(models::DecoderImpl& decoder, const std::vector<NamedAdapter>& adapters,
                core::ProgressObserver& progress);

  /// The name that acts now.
  const std::string& current() const { return current_; }
  /// Those that may be given to use(), kBase last.
  std::vector<std::string> names() const;
  /// ConfigError with the nearest name when there is no such adapter.
  void check(const std::string& name) const;
  /// From now on this one alone acts. ConfigError as check().
  void use(const std::string& name);
  /// The folder of an adapter; none for the base.
  std::optional<std::filesystem::path> directory(const std::string& name) const;
  /// A row each for the opening lines.
  std::vector<std::pair<std::string, std::string>> describe() const;

 private:
  std::vector<NamedAdapter> named_;
  std::vector<lora::Adapter> adapters_;
  std::string current_ = kBase;
};

}  // namespace lowrank::recipes
