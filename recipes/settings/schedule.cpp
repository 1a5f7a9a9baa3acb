// Steps, their sizes and their rates.
#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/recipes/settings/converter.h"

namespace lowrank::recipes {

bool ForeignConverter::of_schedule(const std::string& key, const Json& value) {
  if (key == "lr_schedule" && is("mlx-lm")) return mlx_schedule();
  if ((key == "optimizer" || key == "optimizer_config") && is("mlx-lm")) return mlx_optimizer(value);
  if (key == "batch_size" && is("Axolotl")) {  // that of a step
    const std::int64_t micro = whole("micro_batch_size").value_or(1);
    if (const auto accumulated = whole("gradient_accumulation_steps")) {
      if (value != Json(micro * *accumulated)) leave(key, fmt::format("`grad-accum` is {}, by gradient_accumulation_steps", *accumulated));
    } else if (const auto batch = whole(key)) {
      set("grad-accum", std::max<std::int64_t>(1, *batch / micro), "batch_size / micro_batch_size");
    } else {
      leave(key, "a whole number of rows is expected");
    }
    return true;
  }
  if (key == "iters") {
    const std::int64_t each = whole("grad_accumulation_steps").value_or(1);
    if (!value.is_number_integer()) return false;
    number(key, *option("max-steps"), std::max<std::int64_t>(1, value.get<std::int64_t>() / each));
    if (each > 1 && has("max-steps")) setting("max-steps")->remark = "mlx-lm counts micro-batches, lowrank optimiser steps";
    return true;
  }
  return false;
}

bool ForeignConverter::mlx_schedule() {
  checked([&] {
    const core::JsonView schedule = core::JsonView(file_, name_).at("lr_schedule");
    if (!schedule.is_object()) schedule.fail("expected a mapping");
    by_table("lr_scheduler_type", schedule.get_string("name", "constant"));
    if (schedule.has_value("warmup")) set("warmup", schedule.get_int("warmup", 0, 0), "steps");
    if (!schedule.has_value("arguments") || schedule.at("arguments").size() == 0) return;
    const core::JsonView arguments = schedule.at("arguments");
    arguments.at(std::size_t{0}).as_double();
    if (arguments.size() > 1) leave("lr_schedule: arguments", "the first is `lr`; the schedule goes to 0 with the run's last step here");
    replace("lr", arguments.at(std::size_t{0}).raw());
  });
  return true;
}

/// Of AdamW only the decay of weights is an option here; mlx-lm's Adam has none.
bool ForeignConverter::mlx_optimizer(const Json& value) {
  const Json* const optimizer = find("optimizer");
  const std::string name = optimizer == nullptr ? "adam" : in_words(*optimizer);
  if (key_ == "optimizer") {
    const Json* const all = find("optimizer_config");
    const Json of = all != nullptr && all->is_object() && all->contains(name) ? (*all)[name] : Json::object();
    if (name == "adamw") {
      const bool given = of.is_object() && of.contains("weight_decay");
      set_as(given ? "optimizer_config" : key_, "weight-decay", given ? of["weight_decay"] : Json(0.01));
    } else if (name != "adam") {
      leave(key_, fmt::format("{} is not offered: the optimiser is AdamW", name));
    }
    return true;
  }
  if (!value.is_object()) return false;
  const Json of = value.value(name, Json::object());
  if (!of.is_object()) return false;
  for (const auto& [key, unused] : of.items())
    if (key != "weight_decay" || name != "adamw") leave(key_, key + ": nothing like it here");
  return true;
}

void ForeignConverter::schedule(const std::string& key, const std::string& name) {
  const FieldInfo& ours = *option("schedule");
  std::string same = name;
  if (name == "constant_with_warmup") same = "constant";
  if (name == "cosine_decay") same = "cosine";
  if (name == "linear_decay" || name == "linear_schedule") same = "linear";
  if (std::find(ours.choices.begin(), ours.choices.end(), same) != ours.choices.end()) return set("schedule", same);
  const std::string near = name.starts_with("cosine") ? "cosine" : "linear";
  leave(key, fmt::format("{} is not offered; {} stands for it", name, near));
  set("schedule", near);
}

/// Two keys of theirs: steps, where they are any, before a share.
void ForeignConverter::warmup(const std::string& key, double steps, const Json& value) {
  const ConvertedSettings::Setting& there = *setting("warmup");
  const bool none_yet = there.value == Json(0);
  if (steps != 0 && (none_yet || key.find("steps") != key.npos)) {
    if (none_yet) std::erase_if(result_.settings, [](const auto& one) { return one.name == "warmup"; });
    replace("warmup", value);
  } else if (steps != 0) {
    set("warmup", value);
  }
}

/// transformers' schedule of that name; constant_with_warmup has one.
void ForeignConverter::no_warmup_in_constant() {
  for (const char* const key : {"lr_scheduler_type", "lr_scheduler"}) {
    const Json* const theirs = find(key);
    if (theirs == nullptr || *theirs != Json("constant")) continue;
    if (has("warmup") && setting("warmup")->value != Json(0)) drop("warmup", "the schedule constant has no warm-up there");
    key_ = key;
    set("warmup", 0);
  }
}

}  // namespace lowrank::recipes
