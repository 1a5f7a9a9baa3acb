#include "lowrank/data/data_names.h"

#include "lowrank/core/ascii.h"

namespace lowrank::data {

namespace fs = std::filesystem;

std::string data_ending(const fs::path& file) {
  return core::ascii_lower((is_packed_name(file) ? file.stem() : file).extension().string());
}

bool is_packed_name(const fs::path& file) {
  const std::string ending = core::ascii_lower(file.extension().string());
  return ending == ".gz" || ending == ".zst";
}

bool is_text_ending(const std::string& ending) { return ending == ".txt" || ending == ".md"; }
bool is_json_ending(const std::string& ending) { return ending == ".jsonl" || ending == ".ndjson" || ending == ".json"; }
bool is_table_ending(const std::string& ending) { return ending == ".csv" || ending == ".tsv"; }
bool is_columnar_ending(const std::string& ending) { return ending == ".parquet" || ending == ".arrow"; }

bool is_data_name(const fs::path& file) {
  const std::string ending = data_ending(file);
  return is_text_ending(ending) || is_json_ending(ending) || is_table_ending(ending) || is_columnar_ending(ending);
}

}  // namespace lowrank::data
