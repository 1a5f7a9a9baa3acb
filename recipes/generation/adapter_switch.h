// Several adapters on one base, loaded by name and switched.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/inputs/opening.h"

namespace lowrank::apps {

/// --adapter [NAME=]DIR, once for each.
OptionSpec option_adapters();

struct NamedAdapter {
  std::string name;
  std::filesystem::path directory;
};

/// What --adapter names, in order, or the adapter that MODEL is. Without NAME= a single one is called "default", and
/// each of several as its folder. ConfigError for a name that is taken or is none, MissingError for a folder without
/// adapter.
std::vector<NamedAdapter> adapters_asked_for(const Options& options);

/// The adapters of a model, at most one of which acts: at first the first.
class AdapterSwitch {
 public:
  /// The name under which the base alone is meant.
  static constexpr const char* kBase = "base";

  /// Loads and attaches them; notes go to the console. `opened` must outlive the switch.
  AdapterSwitch(Opened& opened, const std::vector<NamedAdapter>& adapters, const Console& console);

  /// The name that acts now.
  const std::string& current() const { return current_; }
  /// Those that may be given to use(), kBase last.
  std::vector<std::string> names() const;
  /// ConfigError with the nearest name when there is no such adapter.
  void check(const std::string& name) const;
  /// From now on this one alone acts. ConfigError as check().
  void use(const std::string& name);
  /// A row each for the opening lines.
  std::vector<std::pair<std::string, std::string>> describe() const;

 private:
  std::vector<NamedAdapter> named_;
  std::vector<lora::Adapter> adapters_;
  std::string current_ = kBase;
};

}  // namespace lowrank::apps
