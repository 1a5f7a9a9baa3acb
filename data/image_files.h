// Which pictures --data names, and the class of each.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace lowrank::data {

struct LabelledFile {
  std::filesystem::path file;
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
ImageFiles find_images(const std::vector<std::filesystem::path>& paths);

}  // namespace lowrank::data
