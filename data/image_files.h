// Which pictures --data names, and the class of each.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"
#include "lowrank/core/file_ref.h"

namespace lowrank::data {

struct LabelledFile {
  core::FileRef file;  // within the folder, or that of the table
  std::string label;
};

struct ImageFiles {
  std::vector<LabelledFile> files;  // in reading order
  std::vector<std::string> labels;  // the classes that occur, sorted by their bytes
  std::string format;               // "class folders", "CSV", or both
  std::vector<std::string> notes;
};

/// A folder of class folders (DIR/cat/1.png: each is searched to its depth, in sorted order, hidden names skipped,
/// other files counted in `notes`), or a .csv or .tsv of "path,label" rows (fields may be "quoted", paths are relative
/// to it, a first row of the names path and label is the header). MissingError; DataError for pictures that lie beside
/// the class folders, a class folder without one, a row that is not two fields, nothing at all.
/// A folder whose folders are all named after parts of a data set (train, validation, test; see folder_parts.h) holds the
/// class folders in them: those of `part` are read.
ImageFiles find_images(const std::vector<std::filesystem::path>& paths, Part part = Part::kTrain);

/// The folders of the validation parts of those folders among `paths` that are in parts.
std::vector<std::filesystem::path> validation_pictures(const std::vector<std::filesystem::path>& paths);

}  // namespace lowrank::data
