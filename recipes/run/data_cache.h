// Text that the runs of one process read once.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::recipes {

class DataCache {
 public:
  /// What data::load gives, read when it is first asked for; a copy of it after that. Files that change in between are
  /// not read again: the runs see the same text.
  data::Dataset load(const std::vector<std::filesystem::path>& paths, const data::Tokenizer& tokenizer,
                     const data::DataOptions& options, core::ProgressObserver* progress);

 private:
  std::map<std::string, data::Dataset> read_;
};

}  // namespace lowrank::recipes
