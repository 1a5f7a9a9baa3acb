// What files of data are called: which names are looked for in folders and repositories, and what a name says of a file.
#pragma once

#include <filesystem>
#include <string>

namespace lowrank::data {

/// The ending in lower case, that before ".gz" or ".zst" where there is one.
std::string data_ending(const std::filesystem::path& file);
bool is_packed_name(const std::filesystem::path& file);  // .gz, .zst

// Of data_ending():
bool is_text_ending(const std::string& ending);      // .txt, .md
bool is_json_ending(const std::string& ending);      // .jsonl, .ndjson, .json
bool is_table_ending(const std::string& ending);     // .csv, .tsv
bool is_columnar_ending(const std::string& ending);  // .parquet, .arrow

/// Any of them.
bool is_data_name(const std::filesystem::path& file);
/// They as a sentence names them, before "and" or "or".
inline constexpr const char* kDataEndings = ".txt, .md, .jsonl, .json, .csv, .tsv, .parquet";

}  // namespace lowrank::data
