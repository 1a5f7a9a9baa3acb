#include "lowrank/apps/training/finetune_run.h"
#include "lowrank/apps/training/preset.h"
#include "lowrank/apps/training/regularisation.h"
#include "lowrank/apps/training/repeated_runs.h"
#include "lowrank/apps/verbs.h"

namespace lowrank::apps {

namespace {

int finetune(const Options& options) {
  const Console console(options);
  const Options resolved = with_preset(options, console);
  const bool several = asks_for_several_runs(resolved);
  SharedBase base(several);
  if (several) return run_several(resolved, console, base);
  return run_finetune(resolved, console, base).exit_code;
}

}  // namespace

Verb finetune_verb() {
  Verb verb;
  verb.name = "finetune";
  verb.summary = "Fine-tune a model on a corpus or an instruction set; writes a PEFT adapter";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank finetune models/SmolLM2-135M --data corpus/ --out runs/art";
  const OptionSpec task = {
      "task",
      OptionType::kText,
      "NAME",
      nullptr,
      "Data",
      "What is learned, where it is not the text itself: the labels of rows {\"text\", \"label\"}, or of "
      "pictures in a folder of class folders (or a .csv)",
      {"classification", "image-classification"}};
  const OptionSpec samples = {"samples", OptionType::kInt,
                              "N",       3,
                              "Run",     "Held-out beginnings that report.html shows continued, before and after",
                              {}};
  for (const auto& group :
       {data_options(), adapter_options(), training_options("2e-4; 2e-5 for --method full"), regularisation_options(),
        little_data_options(), std::vector<OptionSpec>{task, option_dtype(), samples}, run_options()}) {
    verb.options.insert(verb.options.end(), group.begin(), group.end());
  }
  verb.run = finetune;
  return verb;
}

}  // namespace lowrank::apps
