#include "lowrank/apps/generation/generate_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/generation/adapters.h"
#include "lowrank/apps/generation/prompt_layout.h"
#include "lowrank/apps/generation/prompt_rows.h"
#include "lowrank/apps/generation/sampling_options.h"
#include "lowrank/apps/generation/search_options.h"
#include "lowrank/apps/inputs/out_folder.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/train/metrics_log.h"

namespace lowrank::apps {

namespace {

namespace fs = std::filesystem;

/// Thrown out of generation by a signal.
struct Interrupted {};

/// Beside an output while answers are missing: the options that decide what they say.
fs::path unfinished(const fs::path& output) { return output.string() + ".unfinished"; }

core::Json deciding(const Options& options) {
  core::Json same = options.resolved();
  for (const char* free : {"input", "output", "batch-size", "resume", "overwrite", "json", "quiet", "threads"})
    same.erase(free);
  same["model"] = options.positional(0);
  return same;
}

/// Half of the answers with other options than the rest: not what anybody wants.
void check_same_options(const Options& options, const fs::path& output) {
  const fs::path file = unfinished(output);
  if (!fs::exists(file)) return;
  const core::Json before = core::read_json(file), now = deciding(options);
  for (const auto& [name, value] : now.items()) {
    if (!before.contains(name) || before[name] != value) {
      throw ConfigError(fmt::format(
          "the answers in {} were begun with another {}: {} then, {} now; resume with the same, or --overwrite them",
          output.string(), name == "model" ? name : "--" + name, before.contains(name) ? before[name].dump() : "none",
          value.dump()));
    }
  }
}

/// What --output holds already; refuses one that must not be touched.
Answered begin_output(const Options& options, const fs::path& output, const std::vector<PromptRow>& rows) {
  const bool resume = resumes(options), overwrite = options.flag("overwrite");
  std::error_code ignored;
  if (!fs::exists(output, ignored)) return {};
  if (fs::equivalent(output, options.text("input"), ignored))
    options.fail("output", "is the input itself; name another file");
  if (overwrite) return {};
  if (resume) {
    check_same_options(options, output);
    return read_answered(output, rows);
  }
  options.fail("output", fmt::format("{} is there already; --resume goes on after its answers, --overwrite starts anew",
                                     output.string()));
}

/// Answers rows in batches and writes each answer as soon as all before it are written.
class Answering {
 public:
  Answering(const Options& options, const Console& console, const std::vector<PromptRow>& rows, std::size_t answered)
      : console_(console),
        rows_(rows),
        layout_(prompt_layout(options)),
        sampling_(sampling_options(options)),
        beams_(search_options(options)),
        batch_size_(options.integer_in("batch-size", 1, 1 << 20)),
        bar_(console),
        next_(answered) {
    if (!layout_.stop.empty()) sampling_.stop.push_back(layout_.stop);
  }

  /// Gives the signal that stopped it, or 0.
  int run(const Options& options, const fs::path& output, std::int64_t keep_bytes) {
    const std::vector<NamedAdapter> named = adapters_asked_for(options);
    Opened opened = open_base(options, console_);
    AdapterSwitch adapters(opened, named, console_);
    std::vector<std::pair<std::string, std::string>> opening = describe(opened);
    for (auto& row : adapters.describe()) opening.push_back(std::move(row));
    if (console_.live()) print_error(fields(opening));
    tokenize(opened, adapters);

    core::write_file(unfinished(fs::absolute(output)), deciding(options).dump(2) + "\n");
    log_.emplace(fs::absolute(output), keep_bytes);
    stop_ = &catch_stop_signals();
    begun_ = now_seconds();
    try {
      while (next_ < rows_.size()) window(opened, adapters);
    } catch (const Interrupted&) {
    }
    log_->sync();
    if (next_ == rows_.size()) fs::remove(unfinished(fs::absolute(output)));
    bar_.clear();
    seconds_ = now_seconds() - begun_;
    return *stop_;
  }

  std::size_t written() const { return next_; }
  std::int64_t tokens() const { return tokens_; }
  double seconds() const { return seconds_; }

 private:
  /// All prompts to come as ids, so that a bad one is known before the first is answered.
  void tokenize(Opened& opened, const AdapterSwitch& adapters) {
    const std::int64_t positions = opened.decoder().config().max_positions;
    first_ = next_;
    for (std::size_t i = first_; i < rows_.size(); ++i) {
      const PromptRow& row = rows_[i];
      std::string adapter = row.adapter.empty() ? adapters.current() : row.adapter;
      try {
        adapters.check(adapter);
      } catch (const ConfigError& error) {
        throw DataError(row.where + ": " + error.what());
      }
      models::BatchPrompt prompt{opened.tokenizer().encode(layout_.apply(row.prompt)), i};
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

  /// A stretch of rows, one adapter after the other: all that are left where one adapter answers them all, else few
  /// enough that not much is held back until those before it are answered.
  void window(Opened& opened, AdapterSwitch& adapters) {
    constexpr std::size_t kBatches = 8;
    const std::size_t begin = next_;
    std::vector<std::string> names;  // in the order in which they come
    for (std::size_t i = begin; i < rows_.size(); ++i) {
      const std::string& name = adapter_of_[i - first_];
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    std::size_t end = rows_.size();
    if (names.size() > 1) end = std::min(end, begin + kBatches * static_cast<std::size_t>(batch_size_));
    for (const std::string& name : names) {
      std::vector<models::BatchPrompt> prompts;
      for (std::size_t i = begin; i < end; ++i) {
        if (adapter_of_[i - first_] == name) prompts.push_back(prompts_[i - first_]);
      }
      adapters.use(name);
      models::BatchOptions batch;
      batch.size = batch_size_;
      batch.on_answer = [&](std::size_t i, const models::Generated& answer) { answered(prompts[i].number, answer); };
      batch.on_step = [&](std::int64_t drawn) { stepped(drawn); };
      if (beams_) {
        models::beam_search(opened.decoder(), opened.tokenizer(), prompts, sampling_, *beams_, batch);
      } else {
        models::generate_batch(opened.decoder(), opened.tokenizer(), prompts, sampling_, batch);
      }
    }
  }

  void answered(std::size_t row, const models::Generated& answer) {
    tokens_ += static_cast<std::int64_t>(answer.ids.size());
    waiting_[row] = answer_row(rows_[row], layout_.answer(answer.text), answer, beams_.has_value());
    for (auto it = waiting_.find(next_); it != waiting_.end(); it = waiting_.find(next_)) {
      log_->row(it->second);
      waiting_.erase(it);
      ++next_;
    }
  }

  void stepped(std::int64_t drawn) {
    drawn_ += drawn;
    const double seconds = now_seconds() - begun_;
    const auto done = static_cast<std::int64_t>(next_ + waiting_.size()),
               total = static_cast<std::int64_t>(rows_.size());
    bar_.draw(done, total,
              fmt::format("{} of {} answers  {:.0f} tokens/s", core::format_count(done), core::format_count(total),
                          static_cast<double>(drawn_) / std::max(seconds, 1e-9)));
    if (*stop_ != 0) throw Interrupted{};
  }

  const Console& console_;
  const std::vector<PromptRow>& rows_;
  PromptLayout layout_;
  models::GenerateOptions sampling_;
  std::optional<models::BeamOptions> beams_;
  std::int64_t batch_size_;
  Bar bar_;
  std::optional<train::MetricsLog> log_;
  std::atomic<int>* stop_ = nullptr;
  std::size_t first_ = 0;  // row of prompts_[0] and adapter_of_[0]
  std::vector<models::BatchPrompt> prompts_;
  std::vector<std::string> adapter_of_;
  std::size_t next_;                           // the row that is written next
  std::map<std::size_t, core::Json> waiting_;  // answers of later rows
  std::int64_t tokens_ = 0, drawn_ = 0;
  double begun_ = 0, seconds_ = 0;
};

}  // namespace

void append_file_options(Verb& verb) {
  verb.options.insert(
      verb.options.end(),
      {
          {"input",
           OptionType::kText,
           "FILE",
           nullptr,
           "Files",
           "Prompts: .jsonl rows with \"prompt\" (other keys are carried through, \"adapter\" picks one), or .txt "
           "lines",
           {}},
          {"output",
           OptionType::kText,
           "FILE",
           nullptr,
           "Files",
           "Their answers: the same rows with \"generated\" and \"finish\", in the same order",
           {}},
          {"batch-size", OptionType::kInt, "N", 16, "Files", "Prompts that are answered at the same time", {}},
          {"resume", OptionType::kFlag, "", false, "Files", "Go on after the answers that --output holds", {}},
          {"overwrite", OptionType::kFlag, "", false, "Files", "Start anew whatever --output holds", {}},
      });
}

int generate_file(const Options& options) {
  for (const char* name : {"prompt", "prompt-file"}) {
    if (options.given(name)) options.fail(name, "does not go with --input; give one of them");
  }
  if (!options.given("output")) options.fail("output", "is missing; it names the file for the answers");
  const Console console(options);
  const fs::path output = options.text("output");
  const std::vector<PromptRow> rows = read_prompts(options.text("input"));
  const Answered before = begin_output(options, output, rows);
  Answering answering(options, console, rows, before.rows);
  const int signal = before.rows < rows.size() ? answering.run(options, output, before.bytes) : 0;

  const double rate = answering.tokens() == 0 ? 0 : static_cast<double>(answering.tokens()) / answering.seconds();
  if (before.rows > 0)
    console.line(fmt::format("{} of {} prompts were answered already",
                             core::format_count(static_cast<std::int64_t>(before.rows)),
                             core::format_count(static_cast<std::int64_t>(rows.size()))));
  console.line(fmt::format("{} answers, {} tokens in {:.1f} s ({:.1f} tokens/s), written to {}",
                           core::format_count(static_cast<std::int64_t>(answering.written() - before.rows)),
                           core::format_count(answering.tokens()), answering.seconds(), rate, output.string()));
  console.result({{"output", output.string()},
                  {"prompts", rows.size()},
                  {"answers", answering.written()},
                  {"tokens", answering.tokens()},
                  {"seconds", answering.seconds()},
                  {"tokens_per_second", rate}});
  if (signal == 0) return 0;
  console.warning(fmt::format("stopped with {} of {} prompts answered; the same command with --resume goes on",
                              core::format_count(static_cast<std::int64_t>(answering.written())),
                              core::format_count(static_cast<std::int64_t>(rows.size()))));
  return 128 + signal;
}

}  // namespace lowrank::apps
