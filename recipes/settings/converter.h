// The conversion of one file of another tool, key by key: what is set, by which key, and what is left out. By concern in
// choose_verb, values, method, schedule, data_sets, templates and defaults.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "lowrank/core/error.h"
#include "lowrank/recipes/settings/convert.h"

namespace lowrank::recipes {

class ForeignConverter {
 public:
  ForeignConverter(const std::string& tool, const std::string& name, const core::Json& file, const SettingNames& known);
  ConvertedSettings run();

 private:
  using Json = core::Json;

  /// false, "false" and "no": off in every tool.
  static bool is_off(const Json& value);
  /// A text, or the texts of a list with `by` between them.
  static std::string in_words(const Json& value, const char* by = ",");
  /// Their name as ours are spelled: num_epochs, num-epochs.
  static std::string dashed(std::string name);
  /// What `read` gives; what it throws for a number or list of mlx-lm's mappings that is none, as a ConfigError.
  template <class Read>
  static auto checked(const Read& read) {
    try {
      return read();
    } catch (const FormatError& error) {
      throw ConfigError(error.what());
    }
  }

  // What is set and left out (convert.cpp). Two keys that say different things of one option: the first stands,
  // or the one that replaces it, and the other is left out by name.
  ConvertedSettings::Setting* setting(const std::string& name);
  bool has(const std::string& name) { return setting(name) != nullptr; }
  void set(const std::string& name, const Json& value, const std::string& remark = "");
  void replace(const std::string& name, const Json& value, const std::string& remark = "");
  /// The setting goes, and its key is left out.
  void drop(const std::string& name, const std::string& why);
  void leave(const std::string& key, const std::string& why);
  const Json* find(const std::string& key) const;  // null: not there, or null
  std::optional<std::int64_t> whole(const std::string& key) const;
  bool is(const char* tool) const { return result_.tool == tool; }
  const FieldInfo* option(const std::string& name) const;  // of the verb that was chosen
  void in_order();

  // Which verb (choose_verb.cpp).
  void choose_verb();
  void find_other_objective();
  void choose_trainer();

  // Each gives false where it does nothing about the key.
  bool of_method(const std::string& key, const Json& value);    // method.cpp
  bool of_schedule(const std::string& key, const Json& value);  // schedule.cpp
  bool of_data(const std::string& key, const Json& value);      // data_sets.cpp
  bool of_template(const std::string& key, const Json& value);  // templates.cpp
  bool of_rewards(const std::string& key, const Json& value);   // choose_verb.cpp
  bool of_records(const std::string& key, const Json& value);   // values.cpp

  // Adapters and full fine-tunes (method.cpp).
  bool method(const std::string& key, const std::string& name);
  bool patterns(const std::string& key, const Json& value);
  bool mlx_parameters();
  bool begins_from(const std::string& key, const Json& value);
  void settle_method();
  void train_all(const std::string& key);

  // Rates and sizes of a step (schedule.cpp).
  bool mlx_schedule();
  bool mlx_optimizer(const Json& value);
  void schedule(const std::string& key, const std::string& name);
  void warmup(const std::string& key, double steps, const Json& value);
  void no_warmup_in_constant();

  // Data sets (data_sets.cpp).
  bool axolotl_datasets(const std::string& key, const std::string& target, const Json& list);
  bool factory_datasets(const std::string& target, const std::string& names);

  // Values by the tables of names and options (values.cpp).
  void by_table(const std::string& key, const Json& value);
  void set_as(const std::string& key, const std::string& name, const Json& value);
  void number(const std::string& key, const FieldInfo& ours, const Json& value);
  void learns_all_turns(const std::string& key);

  // What their file is silent about (defaults.cpp).
  void missing(const std::string& name, const Json& value);
  void defaults();

  const Json& file_;
  std::string name_;  // of the file
  const SettingNames& known_;
  ConvertedSettings result_;
  std::string key_;      // that is looked at
  std::string full_by_;  // the key that says that all weights are trained; empty: none
};

}  // namespace lowrank::recipes
