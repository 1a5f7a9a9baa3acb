// Everything, in one include. The main path: models::load, lora::attach, data::load, train::Trainer, lora::save_peft.
#pragma once

#include "lowrank/core/error.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/lora_linear.h"
#include "lowrank/lora/merge.h"
#include "lowrank/models/beam_search.h"
#include "lowrank/models/generate.h"
#include "lowrank/models/generate_batch.h"
#include "lowrank/models/load.h"
#include "lowrank/train/causal_lm.h"
#include "lowrank/train/run_folder.h"
#include "lowrank/train/trainer.h"
