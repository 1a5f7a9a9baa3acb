// An adapter in the form that other programs read.
#pragma once

#include <filesystem>
#include <string>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

struct ExportSpec : Spec {
  std::string adapter;               // a PEFT folder
  std::optional<std::string> model;  // its base; none: the one that it names
  std::string format;                // gguf, mlx or peft
  std::string out;                   // a file for gguf, else a folder; new
  std::string dtype = "float32";
  bool overwrite = false;
};
void describe(Fields& table, ExportSpec& spec);

struct ExportResult {
  core::Json json;    // for --json
  std::string lines;  // for people
};

/// FieldError for what cannot be, ModelError for what the format cannot hold.
ExportResult export_adapter(const ExportSpec& spec, core::ProgressObserver& progress);

}  // namespace lowrank::recipes
