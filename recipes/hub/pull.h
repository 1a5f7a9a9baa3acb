// A model or data set from the hub into the cache that transformers and this program read, or into a folder.
#pragma once

#include <filesystem>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/core/progress.h"
#include "lowrank/recipes/spec/fields.h"

namespace lowrank::recipes {

struct PullSpec : Spec {
  std::string repo;                      // ORG/NAME[@REVISION], datasets/ORG/NAME, …
  std::optional<std::string> repo_type;  // model or dataset, where the name does not say
  std::optional<std::string> revision;   // instead of @REVISION
  std::vector<std::string> include, exclude;
  std::optional<std::string> local_dir;  // instead of the cache: the files by their names
  bool overwrite = false;                // what is the user's own in local_dir
  std::int64_t connections = 8;
  bool dry_run = false;
};
void describe(Fields& table, PullSpec& spec);

struct PullResult {
  core::Json json;             // for --json
  std::string lines;           // for people
  std::filesystem::path path;  // the snapshot, or local_dir
  bool model = true;           // or an adapter, else a data set
  bool adapter = false;
};

/// MissingError, IoError, FormatError, ModelError as hub/listing.h, hub/choice.h and hub/download.h say. What was
/// downloaded before an error stays, and the same call goes on from there.
PullResult pull(const PullSpec& spec, core::ProgressObserver& progress);

}  // namespace lowrank::recipes
