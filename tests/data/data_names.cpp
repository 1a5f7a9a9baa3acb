#include "lowrank/data/data_names.h"

#include "catch.h"

using namespace lowrank;

TEST_CASE("files of data are known by their names in any spelling, packed or not", "[unit]") {
  for (const char* name : {"a.txt", "a.md", "a.jsonl", "a.ndjson", "a.json", "a.csv", "a.TSV", "a.parquet", "a.Arrow", "a.JSONL.GZ", "b/a.csv.zst"}) {
    CAPTURE(name);
    CHECK(data::is_data_name(name));
  }
  for (const char* name : {"a", "a.gz", "a.safetensors", "a.txt.bz2", ".json", "a.pickle"}) {
    CAPTURE(name);
    CHECK(!data::is_data_name(name));
  }
  CHECK(data::data_ending("A.Csv.Zst") == ".csv");
  CHECK(data::is_packed_name("a.ZST"));
}
