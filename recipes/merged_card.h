// README.md of a merged model: the model card that goes to the hub with it.
#pragma once

#include <string>

#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"
#include "lowrank/recipes/merge.h"
#include "lowrank/recipes/merge_gguf.h"

namespace lowrank::recipes {

/// Cards name the base by its name on the hub, or by the last part of its folder, and no other path of this machine;
/// the licence fields of the base's own card, where its folder has one; and, of an adapter that was trained here, its
/// options, data and results, from its run.json.
std::string merged_card(const models::LoadedModel& model, const lora::Adapter& adapter, const MergeResult& result);
std::string gguf_card(const models::LoadedModel& model, const lora::Adapter* adapter, const GgufResult& result,
                      formats::GgmlType type);

}  // namespace lowrank::recipes
