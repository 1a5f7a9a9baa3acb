// The verbs of the command, one file each.
#pragma once

#include <vector>

#include "lowrank/apps/console/options.h"

namespace lowrank::apps {

Verb finetune_verb();
Verb pretrain_verb();
Verb align_dpo_verb();
Verb align_ppo_verb();
Verb align_reward_verb();
Verb evaluate_verb();
Verb generate_verb();
Verb chat_verb();
Verb merge_verb();
Verb export_verb();
Verb compress_verb();
Verb inspect_verb();
Verb doctor_verb();
Verb tokenize_verb();
Verb tokenizer_train_verb();
Verb runs_verb();
Verb sweep_verb();
Verb pull_verb();
Verb push_verb();
Verb config_verb();
Verb completion_verb();
Verb man_verb();

const std::vector<Verb>& verbs();

/// The whole command: picks the verb, parses, runs, turns errors into one line on stderr and an exit code.
int run(int argc, char** argv);

}  // namespace lowrank::apps
