#include "lowrank/recipes/generation/answer_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/data/asked.h"
#include "lowrank/data/conversation.h"
#include "lowrank/models/generate_batch.h"
#include "lowrank/recipes/generation/prompt_rows.h"
#include "lowrank/recipes/generation/speaker.h"
#include "lowrank/recipes/spec/fields.h"
#include "lowrank/train/metrics_log.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;

/// Thrown out of generation when the run is stopped.
struct Interrupted {};

/// Beside an output while answers are missing: the options that decide what they say.
fs::path unfinished(const fs::path& output) { return output.string() + ".unfinished"; }

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Half of the answers with other options than the rest: not what anybody wants.
void check_same_options(const AnswerFileSpec& spec) {
  const fs::path file = unfinished(spec.output);
  if (!fs::exists(file)) return;
  const core::Json before = core::read_json(file);
  for (const auto& [name, value] : spec.same.items()) {
    if (!before.contains(name) || before[name] != value) {
      throw ConfigError(fmt::format(
          "the answers in {} were begun with another {}: {} then, {} now; resume with the same, or `overwrite` them",
          spec.output.string(), name == "model" ? name : "`" + name + "`",
          before.contains(name) ? core::json_text(before[name]) : "none", core::json_text(value)));
    }
  }
}

/// What the output holds already; refuses one that must not be touched.
Answered begin_output(const AnswerFileSpec& spec, const std::vector<PromptRow>& rows) {
  core::check_utf8(spec.same);
  if (spec.resume && spec.overwrite) throw FieldError("overwrite", "contradicts `resume`; give one of them");
  std::error_code ignored;
  if (!fs::exists(spec.output, ignored)) return {};
  if (fs::equivalent(spec.output, spec.input, ignored))
    throw FieldError("output", "is the input itself; name another file");
  if (spec.overwrite) return {};
  if (spec.resume) {
    check_same_options(spec);
    return read_answered(spec.output, rows);
  }
  throw FieldError("output",
                   fmt::format("{} is there already; `resume` goes on after its answers, `overwrite` starts anew",
                               spec.output.string()));
}

/// Answers rows in batches and writes each answer as soon as all before it are written.
class Answering {
 public:
  Answering(const AnswerFileSpec& spec, Observer& observer, const std::vector<PromptRow>& rows, std::size_t answered)
      : spec_(spec), observer_(observer), rows_(rows), sampling_(spec.sampling), next_(answered) {
    if (!spec.layout.stop.empty()) sampling_.stop.push_back(spec.layout.stop);
  }

  void run(std::int64_t keep_bytes, AnswerFileResult& result) {
    models::LoadOptions load = spec_.load;
    if (spec_.adapters.size() == 1) load.adapter = spec_.adapters.front().directory;
    const models::LoadedModel model = models::load(spec_.model, load, &observer_);
    AdapterSwitch adapters(*model.decoder, spec_.adapters, observer_);
    if (spec_.on_open) spec_.on_open(model, adapters);
    tokenize(model, adapters);

    const fs::path output = fs::absolute(spec_.output);
    core::write_file(unfinished(output), core::json_text(spec_.same, 2) + "\n");
    log_.emplace(output, keep_bytes);
    stop_ = observer_.stop_flag();
    const double begun = seconds_now();
    try {
      while (next_ < rows_.size()) window(model, adapters);
    } catch (const Interrupted&) {
    }
    log_->sync();
    if (next_ == rows_.size()) fs::remove(unfinished(output));
    result.answers = static_cast<std::int64_t>(next_);
    result.tokens = tokens_;
    result.seconds = seconds_now() - begun;
    result.stopped = *stop_;
  }

 private:
  /// All prompts to come as ids, so that a bad one is known before the first is answered.
  void tokenize(const models::LoadedModel& model, const AdapterSwitch& adapters) {
    const std::int64_t positions = model.decoder->config().max_positions;
    first_ = next_;
    for (std::size_t i = first_; i < rows_.size(); ++i) {
      const PromptRow& row = rows_[i];
      std::string adapter = row.adapter.empty() ? adapters.current() : row.adapter;
      try {
        adapters.check(adapter);
      } catch (const ConfigError& error) {
        throw DataError(row.where + ": " + error.what());
      }
      models::BatchPrompt prompt{ids_of(row, speaker(model, adapters, adapter)), i};
      if (prompt.ids.empty()) throw DataError(row.where + ": the prompt has no tokens");
      if (static_cast<std::int64_t>(prompt.ids.size()) >= positions) {
        throw DataError(
            fmt::format("{}: the prompt has {} tokens and the model {} positions, so there is no room for an answer; "
                        "shorten it",
                        row.where, prompt.ids.size(), positions));
      }
      prompts_.push_back(std::move(prompt));
      adapter_of_.push_back(std::move(adapter));
    }
  }

  const Speaker& speaker(const models::LoadedModel& model, const AdapterSwitch& adapters, const std::string& name) {
    const auto known = speakers_.find(name);
    if (known != speakers_.end()) return known->second;
    return speakers_.emplace(name, speaker_of(model, adapters.directory(name), spec_.chat)).first->second;
  }

  std::vector<data::TokenId> ids_of(const PromptRow& row, const Speaker& speaker) {
    if (!spec_.layout.after.empty()) {
      if (row.turns) throw FieldError("task", "lays out texts, and " + row.where + " is a conversation");
      return speaker.tokenizer->encode_prompt(spec_.layout.apply(row.prompt));
    }
    data::TurnReader reader(*speaker.layout);
    try {
      const data::Asked asked = data::asked_by({row.asked(), row.where}, reader, speaker.layout->has_template());
      if (!asked.conversation) return speaker.tokenizer->encode_prompt(asked.text);
      conversations_ = true;
      return data::conversation_prompt_ids(*speaker.tokenizer, *speaker.layout, *asked.conversation);
    } catch (const FormatError& error) {  // a value of a wrong type: a fault of the data
      throw DataError(error.what());
    }
  }

  /// A stretch of rows, one adapter after the other: all that are left where one adapter answers them all, else few
  /// enough that not much is held back until those before it are answered.
  void window(const models::LoadedModel& model, AdapterSwitch& adapters) {
    constexpr std::size_t kBatches = 8;
    const std::size_t begin = next_;
    std::vector<std::string> names;  // in the order in which they come
    for (std::size_t i = begin; i < rows_.size(); ++i) {
      const std::string& name = adapter_of_[i - first_];
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    std::size_t end = rows_.size();
    if (names.size() > 1) end = std::min(end, begin + kBatches * static_cast<std::size_t>(spec_.batch_size));
    for (const std::string& name : names) {
      std::vector<models::BatchPrompt> prompts;
      for (std::size_t i = begin; i < end; ++i) {
        if (adapter_of_[i - first_] == name) prompts.push_back(prompts_[i - first_]);
      }
      adapters.use(name);
      const Speaker& speaker = speakers_.at(name);
      sampling_.end_ids = conversations_ ? speaker.turn_ends : speaker.end_ids;
      models::BatchOptions batch;
      batch.size = spec_.batch_size;
      batch.on_answer = [&](std::size_t i, const models::Generated& answer) { answered(prompts[i].number, answer); };
      batch.on_step = [&](std::int64_t drawn) { stepped(drawn); };
      if (spec_.beams) {
        models::beam_search(*model.decoder, *speaker.tokenizer, prompts, sampling_, *spec_.beams, batch);
      } else {
        models::generate_batch(*model.decoder, *speaker.tokenizer, prompts, sampling_, batch);
      }
    }
  }

  void answered(std::size_t row, const models::Generated& answer) {
    tokens_ += static_cast<std::int64_t>(answer.ids.size());
    waiting_[row] = answer_row(rows_[row], spec_.layout.answer(answer.text), answer, spec_.beams.has_value());
    for (auto it = waiting_.find(next_); it != waiting_.end(); it = waiting_.find(next_)) {
      log_->row(it->second);
      waiting_.erase(it);
      ++next_;
    }
  }

  void stepped(std::int64_t drawn) {
    drawn_ += drawn;
    if (spec_.on_progress)
      spec_.on_progress(static_cast<std::int64_t>(next_ + waiting_.size()), static_cast<std::int64_t>(rows_.size()),
                        drawn_);
    if (*stop_ != 0) throw Interrupted{};
  }

  const AnswerFileSpec& spec_;
  Observer& observer_;
  const std::vector<PromptRow>& rows_;
  models::GenerateOptions sampling_;
  std::optional<train::MetricsLog> log_;
  std::atomic<int>* stop_ = nullptr;
  std::size_t first_ = 0;  // row of prompts_[0] and adapter_of_[0]
  std::vector<models::BatchPrompt> prompts_;
  std::vector<std::string> adapter_of_;
  std::map<std::string, Speaker> speakers_;    // by the adapter's name
  bool conversations_ = false;                 // among the prompts
  std::size_t next_;                           // the row that is written next
  std::map<std::size_t, core::Json> waiting_;  // answers of later rows
  std::int64_t tokens_ = 0, drawn_ = 0;
};

}  // namespace

AnswerFileResult answer_file(const AnswerFileSpec& spec, Observer& observer) {
  std::vector<std::string> notes;
  const std::vector<PromptRow> rows = read_prompts(spec.input, spec.map.get(), &notes);
  for (const std::string& note : notes) observer.note(note);
  const core::OutputLock lock(spec.output);
  const fs::path beside = unfinished(fs::absolute(spec.output));
  core::sweep_temporaries(beside.parent_path(), beside.filename().string());  // ours too
  const Answered before = begin_output(spec, rows);
  AnswerFileResult result;
  result.prompts = static_cast<std::int64_t>(rows.size());
  result.before = result.answers = static_cast<std::int64_t>(before.rows);
  if (before.rows < rows.size()) Answering(spec, observer, rows, before.rows).run(before.bytes, result);
  return result;
}

}  // namespace lowrank::recipes
