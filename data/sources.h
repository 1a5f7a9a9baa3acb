// Which files --data names: files as they are, folders searched for what can be read.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lowrank/data/dataset.h"

namespace lowrank::data {

enum class SourceKind {
  kText,       // .txt, .md, and anything else under --format text
  kJsonLines,  // .jsonl
  kJson,       // .json: one array of rows (or, as many name it, JSON lines)
};

struct Source {
  std::filesystem::path file;
  SourceKind kind = SourceKind::kText;
};

/// Files in reading order. A folder is searched recursively in sorted order for .txt, .md and .jsonl; hidden names are
/// skipped, others counted in `notes`. MissingError with the nearest name; DataError for a file whose ending says
/// nothing; ConfigError when the format asked for does not suit the file.
std::vector<Source> find_sources(const std::vector<std::filesystem::path>& paths, Format format,
                                 std::vector<std::string>& notes);

}  // namespace lowrank::data
