// A conversation with a model: what was said, laid out as in training, and the model's answers.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/apps/console/options.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/core/json.h"
#include "lowrank/models/generate.h"
#include "lowrank/models/kv_cache.h"
#include "lowrank/recipes/generation/adapter_switch.h"
#include "lowrank/recipes/generation/speaker.h"

namespace lowrank::apps {

class ChatSession {
 public:
  /// --system, --tools and the sampling options. ConfigError for tools that are none.
  ChatSession(const Opened& opened, const recipes::AdapterSwitch& adapters, const Options& options);

  /// The model's answer to what this role says, streamed to stdout. Returns the signal that stopped it, or 0. DataError where it cannot be
  /// laid out or there is no room for it; after an error nothing was said.
  int answer(const std::string& role, const std::string& text);
  void forget();
  /// Takes the last question and its answer back. False: there is none.
  bool undo();
  /// Appends the conversation to a file, as a row that `finetune` reads.
  void save(const std::filesystem::path& file) const;
  /// Another adapter acts: what was read is read again, with its tokenizer and layout.
  void adapter_changed();

  /// How the conversation is laid out, in one line.
  std::string layout_text() const;
  /// The names of the tools, empty without any.
  std::string tool_names() const;

 private:
  std::vector<data::TokenId> prompt() const;
  std::vector<data::TokenId> prompt_with_room();
  int speak(const std::vector<data::TokenId>& ids);
  bool forget_oldest();

  const Opened& opened_;
  const recipes::AdapterSwitch& adapters_;
  Console console_;
  models::GenerateOptions sampling_;
  std::vector<std::string> stops_;  // asked for
  recipes::ChatSpec chat_;
  recipes::Speaker speaker_;
  core::Json row_ = core::Json::object();      // system and tools, as a row has them beside its turns
  core::Json messages_ = core::Json::array();  // the turns
  models::KvCache cache_;
  std::vector<data::TokenId> read_;  // what the cache holds
  std::int64_t calls_ = 0;           // that were given an id here
};

}  // namespace lowrank::apps
