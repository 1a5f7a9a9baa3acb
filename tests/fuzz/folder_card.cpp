// Folders that say what data they hold: a README.md with YAML, or a dataset_info.json. Files of the folder are given as
// folder_with() has them.
#include "fuzz.h"
#include "lowrank/data/sources.h"

using namespace lowrank::data;

LOWRANK_FUZZ_TARGET(folder_card) {
  const std::filesystem::path folder = std::filesystem::canonical(lowrank_fuzz::folder_with("set", input));
  for (const Part part : {Part::kTrain, Part::kValidation}) {
    std::vector<std::string> notes;
    FileOptions options;
    options.part = part;
    for (const Source& source : find_sources({folder}, Format::kAuto, notes, options)) {
      const std::string inside = std::filesystem::weakly_canonical(source.file.path()).lexically_relative(folder).string();
      if (inside.empty() || inside.starts_with("..")) lowrank_fuzz::broken("a file outside of the folder: " + inside);
    }
  }
}
