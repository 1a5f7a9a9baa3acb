// A model with its adapter, as recipes that train nothing begin.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/load.h"

namespace lowrank::recipes {

struct Opened {
  models::LoadedModel model;
  std::optional<lora::Adapter> adapter;
  std::filesystem::path adapter_path;  // empty without an adapter; its tokenizer, where it has one, is model.tokenizer
  models::DecoderImpl& decoder() const { return *model.decoder; }
  const data::Tokenizer& tokenizer() const { return *model.tokenizer; }
};

/// "auto", "float32" or "bfloat16".
models::DTypeChoice dtype_choice(const std::string& name);
/// "auto", "int8" or "nf4".
kernels::BaseForm base_form(const std::string& name);
/// kernels::find_device, whose errors are of the field `device`.
at::Device device_of(const std::string& name, int local = 0);
/// A note where the adapter in this folder was trained on a base of another form (its run.json says so), of the form
/// that is used; empty otherwise.
std::string other_form(const std::filesystem::path& adapter, kernels::BaseForm used);
/// The form whose loss an adapter holds that began with LoftQ (its run.json says so): on another form that counts twice.
std::optional<kernels::BaseForm> form_of_loftq(const std::filesystem::path& adapter);
/// Says other_form as it deserves: what form_of_loftq gives is a warning.
void say_other_form(const std::filesystem::path& adapter, kernels::BaseForm used, core::ProgressObserver& progress);

/// The folder `adapter`, or the one that MODEL is. FieldError where both are given, MissingError where it is not there.
std::optional<std::filesystem::path> adapter_of(const std::string& model, const std::optional<std::string>& adapter);

/// MODEL as `load` says, with that adapter, if any; what is to be said of both are warnings.
Opened open_model(const std::string& model, const std::optional<std::filesystem::path>& adapter, models::LoadOptions load,
                  core::ProgressObserver& progress);

/// The same to be merged: an adapter that began with LoftQ goes onto its base in codes, and into what these stand for.
Opened open_to_merge(const std::string& model, const std::optional<std::filesystem::path>& adapter, models::LoadOptions load,
                     core::ProgressObserver& progress);

/// For the opening lines: model, dtype with its reason.
std::vector<std::pair<std::string, std::string>> describe(const models::LoadedModel& model);
std::pair<std::string, std::string> describe(const lora::Adapter& adapter, const std::filesystem::path& path);
/// What was opened: these and the adapter.
std::vector<std::pair<std::string, std::string>> describe(const Opened& opened);

}  // namespace lowrank::recipes
