// Which files --data names: files as they are, folders searched for what can be read.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lowrank/core/file_ref.h"
#include "lowrank/data/dataset.h"

namespace lowrank::data {

enum class SourceKind {
  kText,      // documents of plain text
  kJson,      // rows: JSON lines, values, arrays
  kTable,     // rows: CSV, TSV
  kColumnar,  // rows of Parquet or Arrow
};

struct Source {
  core::FileRef file;  // named by the user, or within the folder that was
  SourceKind kind = SourceKind::kText;
  std::shared_ptr<const RowMap> map = nullptr;  // of its rows
  std::uint32_t given = 0;                      // which of the paths it was found at
  double weight = 1;                            // of that path
};

/// Files in reading order; "-" is standard input. What a file is, its content says where its name does not: rows of
/// JSON in a .txt are rows, unless `format` is text. A folder is searched recursively in sorted order for .txt, .md,
/// .jsonl, .ndjson, .json, .csv, .tsv, .parquet and .arrow, but the last two each also as .gz or .zst; hidden names are skipped, others counted in `notes`.
/// Where its files are named after the parts of a data set (train, validation, test; see folder_parts.h), those of the part
/// that is asked for are taken. MissingError with the nearest name; DataError for a file whose ending and content say nothing; ConfigError
/// when the format asked for does not suit the file, and for a weight where nothing is trained.
std::vector<Source> find_sources(const std::vector<std::filesystem::path>& paths, Format format,
                                 std::vector<std::string>& notes, const FileOptions& files = {});

/// The same of rows that no plan takes by weights: ConfigError for a weight.
std::vector<Source> find_unweighted_sources(const std::vector<std::filesystem::path>& paths,
                                            std::vector<std::string>& notes, const FileOptions& files);

/// The files of the validation parts of those folders among `paths` that have one.
std::vector<std::filesystem::path> validation_files(const std::vector<std::filesystem::path>& paths, Format format);

}  // namespace lowrank::data
