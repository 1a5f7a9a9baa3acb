#include "lowrank/apps/align_run.h"

#include "lowrank/apps/opening.h"
#include "lowrank/apps/training_base.h"
#include "lowrank/apps/training_run.h"
#include "lowrank/core/error.h"
#include "lowrank/kernels/mode.h"
#include "lowrank/train/run_folder.h"

namespace lowrank::apps {

namespace fs = std::filesystem;

std::optional<AlignRun> open_align_run(const Options& options, const Console& console, core::ProgressObserver& progress) {
  set_threads(options);
  kernels::set_mode(options.text("kernels") == "composite" ? kernels::Mode::kComposite : kernels::Mode::kFused);
  const bool resume = options.flag("resume");
  if (resume && options.flag("overwrite")) options.fail("overwrite", "contradicts --resume; give one of them");
  const fs::path out = options.text("out");
  const models::Resolved resolved = models::resolve(options.positional(0));

  AlignRun run;
  run.start = resolved.adapter;
  if (options.has("adapter")) run.start = options.text("adapter");
  if (!options.flag("dry-run")) {
    if (resume && train::run_state(out) == train::RunState::kFinished) {
      console.line(out.string() + " holds a finished run; nothing was done");
      return std::nullopt;
    }
    std::vector<fs::path> inputs = {resolved.model};
    if (run.start) inputs.push_back(*run.start);
    run.lock = train::open_run_folder(out, resume, options.flag("overwrite"), inputs);
  }
  run.earlier = earlier_choices(out, resume);
  run.model = models::load(resolved.model.string(), load_options(options, run.earlier, false), &progress);
  report_model(run.report, options, resolved, run.model);
  lora::SlotTable slots = run.model.decoder->slot_table();
  slots.base_name = run.report.model_name;
  run.adapter = make_adapter(options, run.start, slots, progress);
  report_adapter(run.report, *run.adapter);
  run.facts = input_facts(run.report, run.model, run.start);
  return run;
}

std::vector<OptionSpec> align_options(std::vector<OptionSpec> own, const std::string& lr) {
  std::vector<OptionSpec> adapter = adapter_options();
  std::erase_if(adapter, [](const OptionSpec& option) { return option.name == "method"; });
  for (const auto& group : {adapter, training_options(lr), std::vector<OptionSpec>{option_dtype()}, run_options()}) {
    own.insert(own.end(), group.begin(), group.end());
  }
  return own;
}

}  // namespace lowrank::apps
