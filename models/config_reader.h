// Reading config.json key by key. What a family asks for is what it knows: the rest is refused, passed over or named as
// unknown, and what it was given is what a config.json of the same model says.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/models/config.h"

namespace lowrank::models {

struct Family;

class ConfigReader {
 public:
  /// Both must outlive the reader.
  ConfigReader(const core::JsonView& json, const Family& family) : json_(json), family_(family) {}

  // Keys are asked for in the common spelling ("hidden_size") and looked up in the family's ("n_embd"), then in the
  // common one. The value is remembered for writing.
  std::int64_t integer(std::string_view key, std::int64_t high);  // required unless Family::defaults has it, from 1
  std::int64_t integer(std::string_view key, std::int64_t fallback, std::int64_t low, std::int64_t high);
  double number(std::string_view key, double fallback);
  bool boolean(std::string_view key, bool fallback);
  std::string string(std::string_view key, const std::string& fallback);

  // The same without remembering: for values in several spellings, and for what is written in another form.
  bool has(std::string_view key);        // present, null or not
  bool has_value(std::string_view key);  // present and not null
  core::JsonView at(std::string_view key);
  /// What a config.json says of this key.
  void write(std::string_view key, core::Json value);

  const core::JsonView& json() const { return json_; }
  /// Everything was asked for: ModelError for a key that changes the mathematics and was not, unless its value leaves
  /// the model as it is. Unknown keys are put into config.unknown_keys, settings that are known and not applied
  /// (dropout) into config.notes, and what was remembered into config.family_keys.
  void finish(DecoderConfig& config);
  /// Something to warn of as an unknown key ("rope_scaling.mystery").
  void unknown(const std::string& key) { unknown_.push_back(key); }
  /// Something that is known and not applied, in words.
  void note(std::string text) { notes_.push_back(std::move(text)); }

 private:
  std::string spelled(std::string_view key);

  const core::JsonView& json_;
  const Family& family_;
  std::set<std::string, std::less<>> asked_;
  std::vector<std::string> unknown_, notes_;
  core::Json written_ = core::Json::object();
};

}  // namespace lowrank::models
