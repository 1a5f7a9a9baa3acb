#include "lowrank/train/identity.h"
#include "lowrank/core/json_text.h"

namespace lowrank::train {

namespace {

constexpr const char* kProcesses = "processes";

}  // namespace

core::Json complete_identity(core::Json given, const TrainOptions& options, std::int64_t steps, int ranks,
                             int processes) {
  if (!given.is_object()) given = core::Json::object();
  core::Json own = {{"optimiser steps", steps},
                    {"--lr", options.lr},
                    {"--schedule", schedule_name(options.schedule)},
                    {"--warmup", options.warmup},
                    {"--clip", options.clip},
                    {"--weight-decay", options.weight_decay},
                    {"--lora-plus-ratio", options.lora_plus_ratio},
                    {"--beta1", options.beta1},
                    {"--beta2", options.beta2},
                    {"--eps", options.eps},
                    {"--l1", options.l1},
                    {"--l2", options.l2},
                    {"--delta-l1", options.delta.l1},
                    {"--delta-l2", options.delta.l2},
                    {"--orthogonality", options.delta.orthogonality},
                    {"--max-delta-norm", options.max_delta_norm},
                    {"--ema", options.ema},
                    {"--eval-every", options.eval_every},
                    {"--early-stopping", options.early_stopping},
                    {"--min-gain", options.min_gain}};
  if (options.on_spike != OnSpike::kIgnore) own["--on-spike"] = on_spike_name(options.on_spike);
  if (ranks > 1) own["ranks"] = ranks;
  if (processes != ranks) own[kProcesses] = processes;
  for (const auto& [key, value] : own.items()) {
    if (!given.contains(key)) given[key] = value;
  }
  return given;
}

core::Json without_length(core::Json identity) {
  for (const char* key : {"optimiser steps", "--epochs", "--max-steps"}) identity.erase(key);
  return identity;
}

std::int64_t processes_of(const core::Json& identity) {
  for (const char* key : {kProcesses, "ranks"}) {
    if (identity.contains(key) && identity[key].is_number_integer()) return identity[key].get<std::int64_t>();
  }
  return 1;
}

std::vector<std::string> identity_differences(const core::Json& then, const core::Json& now, const std::string& first,
                                              const std::string& second) {
  std::vector<std::string> differences;
  const auto text = [](const core::Json& object, const std::string& key) {
    if (!object.contains(key)) return std::string("not set");
    return object[key].is_string() ? object[key].get<std::string>() : core::json_text(object[key]);
  };
  const auto compare = [&](const std::string& key) {
    if (key == kProcesses || (then.contains(key) && now.contains(key) && then[key] == now[key])) return;
    differences.push_back(key + ": " + text(then, key) + " " + first + ", " + text(now, key) + " " + second);
  };
  for (const auto& [key, value] : now.items()) compare(key);
  for (const auto& [key, value] : then.items()) {
    if (!now.contains(key)) compare(key);
  }
  return differences;
}

}  // namespace lowrank::train
