// An answer for every row of a file, in batches, written as soon as all before it are, gone on with after an
// interruption.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/row_map.h"
#include "lowrank/models/beam_search.h"
#include "lowrank/recipes/generation/adapter_switch.h"
#include "lowrank/recipes/generation/prompt_layout.h"
#include "lowrank/recipes/observer.h"
#include "lowrank/recipes/spec/specs.h"

namespace lowrank::recipes {

struct AnswerFileSpec {
  std::string model;
  models::LoadOptions load;
  std::vector<NamedAdapter> adapters;
  std::filesystem::path input, output;
  std::shared_ptr<const data::RowMap> map = nullptr;  // of the input's columns
  PromptLayout layout;
  ChatSpec chat;  // of rows that are conversations
  models::GenerateOptions sampling;
  std::optional<models::BeamOptions> beams;
  std::int64_t batch_size = 16;
  bool resume = false, overwrite = false;
  core::Json same;  // {option: value} that decide what the answers say, compared when they are gone on with

  /// Told when the model is there, and after each step of answers done, of how many, and tokens drawn so far.
  std::function<void(const models::LoadedModel&, const AdapterSwitch&)> on_open;
  std::function<void(std::int64_t done, std::int64_t total, std::int64_t tokens)> on_progress;
};

struct AnswerFileResult {
  std::int64_t prompts = 0, before = 0, answers = 0;  // before: that `output` held already; answers: that it holds now
  std::int64_t tokens = 0;                            // of the answers of this call
  double seconds = 0;
  int stopped = 0;  // the observer's reason; 0: all are answered
};

/// FieldError for an output that must not be touched, DataError for prompts without room for an answer.
AnswerFileResult answer_file(const AnswerFileSpec& spec, Observer& observer);

}  // namespace lowrank::recipes
