// Folders that say themselves what data they hold: LLaMA-Factory's dataset_info.json, the README of a Hugging Face data set.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

/// What is read of a folder.
struct Listed {
  std::vector<std::filesystem::path> files;     // files and folders; none: the part is not there
  std::filesystem::path folder;                 // that they may not lead out of
  std::shared_ptr<const RowMap> map = nullptr;  // of their columns
  std::string note;                             // what is read and what is not, or that the part is not there, in a line
  bool in_parts = false;                        // the files are of the part that was asked for
};

/// `path`: a folder with such a file, or FOLDER/NAME with the name of one of the sets that it lists. Nothing where there
/// is no such file, or where it does not list files. DataError: several sets and none is named, what cannot be read of
/// one; MissingError: files that are not there, a name of no set.
std::optional<Listed> listed_data(const std::filesystem::path& path, Part part);

}  // namespace lowrank::data
