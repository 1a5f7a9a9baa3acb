#include "lowrank/apps/generation/generate_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/generation/generation_options.h"
#include "lowrank/apps/generation/model_settings.h"
#include "lowrank/apps/generation/sampling_options.h"
#include "lowrank/apps/generation/search_options.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/recipes/generation/answer_file.h"

namespace lowrank::apps {

namespace {

/// Options that decide what the answers say.
core::Json deciding(const Options& options) {
  core::Json same = options.resolved();
  for (const char* free : {"input", "output", "batch-size", "resume", "overwrite", "json", "quiet", "threads"})
    same.erase(free);
  same["model"] = options.positional(0);
  return same;
}

/// Progress of loading, and the stop flag of the signals.
class AnsweringView : public OnConsole<recipes::Observer> {
 public:
  using OnConsole::OnConsole;
  std::atomic<int>* stop_flag() override { return &catch_stop_signals(); }
};

}  // namespace

int generate_file(const Options& options) {
  for (const char* name : {"prompt", "prompt-file"}) {
    if (options.given(name)) options.fail(name, "does not go with --input; give one of them");
  }
  if (!options.given("output")) options.fail("output", "is missing; it names the file for the answers");
  if (options.text("output") == "-")
    options.fail("output", "answers go to a file, so that they can be gone on with, and '-' is none; name one, such as answers.jsonl");
  const Console console(options);
  set_threads(options);
  recipes::AnswerFileSpec spec;
  spec.model = options.positional(0);
  spec.load = loading_asked_for(options);
  spec.input = options.text("input");
  spec.output = options.text("output");
  spec.map = row_map_asked_for(options);
  spec.resume = options.flag("resume");
  spec.overwrite = options.flag("overwrite");
  spec.layout = layout_asked_for(options);
  spec.chat = chat_asked_for(options);
  spec.sampling = sampling_options(options, console);
  spec.beams = search_options(options);
  spec.batch_size = options.integer_in("batch-size", 1, 1 << 20);
  spec.adapters = adapters_asked_for(options);
  spec.same = deciding(options);
  Bar bar(console);
  double begun = 0;
  spec.on_open = [&](const models::LoadedModel& model, const recipes::AdapterSwitch& adapters) {
    std::vector<std::pair<std::string, std::string>> opening = describe(model);
    for (auto& row : adapters.describe()) opening.push_back(std::move(row));
    say_unused_settings(options, console, model.path);
    if (console.live()) print_error(fields(opening));
    begun = now_seconds();
  };
  spec.on_progress = [&](std::int64_t done, std::int64_t total, std::int64_t tokens) {
    bar.draw(done, total,
             fmt::format("{} of {} answers  {:.0f} tokens/s", core::format_count(done), core::format_count(total),
                         static_cast<double>(tokens) / std::max(now_seconds() - begun, 1e-9)));
  };
  AnsweringView view(console);
  const recipes::AnswerFileResult done = recipes::answer_file(spec, view);
  bar.clear();

  const double rate = done.tokens == 0 ? 0 : static_cast<double>(done.tokens) / done.seconds;
  if (done.before > 0)
    console.line(fmt::format("{} of {} prompts were answered already", core::format_count(done.before),
                             core::format_count(done.prompts)));
  console.line(fmt::format("{}, {} in {:.1f} s ({:.1f} tokens/s), written to {}",
                           core::counted(done.answers - done.before, "answer"), core::counted(done.tokens, "token"),
                           done.seconds, rate, spec.output.string()));
  console.result({{"output", spec.output.string()},
                  {"prompts", done.prompts},
                  {"answers", done.answers},
                  {"tokens", done.tokens},
                  {"seconds", done.seconds},
                  {"tokens_per_second", rate}});
  if (done.stopped == 0) return 0;
  console.warning(fmt::format("stopped with {} of {} prompts answered; the same command with --resume goes on",
                              core::format_count(done.answers), core::format_count(done.prompts)));
  return exit_code_of(done.stopped);
}

}  // namespace lowrank::apps
