// A folder's adapter or model, or a data set, to the hub as one commit.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

struct PushSpec : Spec {
  std::string folder;
  std::string repo;                      // ORG/NAME[@REVISION], datasets/ORG/NAME
  std::optional<std::string> repo_type;  // model or dataset, where the name does not say
  std::vector<std::string> include, exclude;
  std::optional<std::string> message;
  bool create = false, make_private = false;
  bool dry_run = false;
  std::int64_t connections = 4;
};
void describe(Fields& table, PushSpec& spec);

struct PushResult {
  core::Json json;    // for --json
  std::string lines;  // for people
};

/// ModelError for a folder that holds neither an adapter nor a model, ConfigError for a checkpoint that was not asked
/// for by `include`; else as hub/upload.h says. With `dry_run` nothing is asked of the hub.
PushResult push(const PushSpec& spec, core::ProgressObserver& progress);

}  // namespace lowrank::recipes
