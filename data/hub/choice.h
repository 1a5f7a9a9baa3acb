// Which files of a repository are wanted: for a model what a fine-tune reads, for a data set what `data` reads.
#pragma once

#include <string>
#include <vector>

#include "lowrank/data/hub/listing.h"

namespace lowrank::data::hub {

struct Choice {
  std::vector<RemoteFile> files;
  std::vector<std::string> notes;  // what was left, in words
  /// Names that programs look for beside these and that the repository does not have.
  std::vector<std::string> absent;
};

/// `include`: instead of what is read, the files that one of these patterns matches; `exclude`: without those that one
/// matches. Patterns as fnmatch's, over the whole path; "folder/" is all beneath it. MissingError where nothing is left;
/// ModelError for a model whose weights are pickled alone.
Choice choose(const Listing& listing, const Repo& repo, const std::vector<std::string>& include,
              const std::vector<std::string>& exclude);

/// fnmatch as Python has it: * matches / too.
bool matches(const std::string& path, const std::vector<std::string>& patterns);

/// Whether a file at the top of a model's folder belongs to the model or adapter: settings, tokenizer, templates, card,
/// licence. Weights are another matter.
bool describes_model(const std::string& name);

}  // namespace lowrank::data::hub
