// Everything, in one include. The main path: models::load, lora::attach, data::load, train::Trainer, lora::save_peft.
#pragma once

#include "lowrank/core/error.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/plan.h"
#include "lowrank/eval/classification.h"
#include "lowrank/eval/perplexity.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/lora/inject.h"
#include "lowrank/lora/lora_conv.h"
#include "lowrank/lora/lora_linear.h"
#include "lowrank/lora/merge.h"
#include "lowrank/models/generate.h"
#include "lowrank/models/load.h"
#include "lowrank/models/resnet/resnet.h"
#include "lowrank/train/causal_lm.h"
#include "lowrank/train/run_folder.h"
#include "lowrank/train/trainer.h"
