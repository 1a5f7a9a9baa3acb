// Parquet and Arrow that pyarrow wrote give the rows that JSON lines give (tests/parity/make_parquet_goldens.py).
#include "lowrank/formats/parquet_rows.h"

#include <string>
#include <vector>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/core/files.h"
#include "lowrank/core/random.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/row_file.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

std::vector<core::Json> rows_of(const fs::path& file) {
  std::vector<std::string> notes;
  std::vector<core::Json> rows;
  data::for_each_row(data::find_sources({file}, data::Format::kAuto, notes).at(0),
                     [&](const core::JsonView& row, std::uint64_t) { rows.push_back(row.raw()); });
  return rows;
}

/// Of so many copies with one byte changed, how many are read; the others must be refused in one sentence.
int read_of_changed(const std::string& bytes, const fs::path& file, const std::string& stream, std::uint64_t times) {
  const core::RandomStream random(1, stream);
  int read = 0;
  for (std::uint64_t i = 0; i < times; ++i) {
    std::string changed = bytes;
    changed[random.below(changed.size(), i, 0)] = static_cast<char>(random.below(256, i, 1));
    write_text(file, changed);
    try {
      rows_of(file);
      ++read;
    } catch (const DataError& e) {
      CHECK_FALSE(contains(e.what(), "\n"));
    }
  }
  return read;
}

fs::path goldens() { return golden_dir() / "data" / "parquet"; }

}  // namespace

TEST_CASE("without Arrow, Parquet is refused with the remedy", "[unit]") {
  if (formats::reads_parquet()) LOWRANK_SKIP("Arrow is there");
  CHECK(contains(message_of<DataError>([] { rows_of(goldens() / "plain.parquet"); }), "pip install pyarrow"));
}

TEST_CASE("Parquet equals the same rows as JSON lines", "[unit]") {
  if (!formats::reads_parquet()) LOWRANK_SKIP("this build has no Arrow");
  int files = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(goldens())) {
    if (entry.path().extension() == ".jsonl") continue;
    CAPTURE(entry.path());
    fs::path lines = entry.path();
    CHECK(rows_of(entry.path()) == rows_of(lines.replace_extension(".jsonl")));
    ++files;
  }
  CHECK(files == 9);
  const data::Dataset all = data::load({goldens() / "dictionary_snappy.parquet"}, FakeTokenizer(), {});
  CHECK(all.report.format == "prompt/completion");
  CHECK(contains(all.documents.at(11).where, "dictionary_snappy.parquet row 12"));
}

TEST_CASE("a folder that datasets' save_to_disk wrote is its rows, and no other Arrow file beside them", "[unit]") {
  if (!formats::reads_parquet()) LOWRANK_SKIP("this build has no Arrow");
  TempDir dir;
  const std::string rows = read_text(goldens() / "dictionary_file.arrow");
  const auto save = [&](const fs::path& folder) {
    write_text(folder / "data-00000-of-00001.arrow", rows);
    write_text(folder / "cache-1f0.arrow", rows);  // of a computation on the loaded set
    write_text(folder / "state.json", R"({"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": "train"})");
    write_text(folder / "dataset_info.json", R"({"features": {"prompt": {"dtype": "string", "_type": "Value"}}})");
  };
  save(dir / "one");
  CHECK(data::load({dir / "one"}, FakeTokenizer(), {}).examples.size() == 12);
  save(dir / "both" / "train");
  save(dir / "both" / "test");
  write_text(dir / "both" / "dataset_dict.json", R"({"splits": ["train", "test"]})");
  CHECK(data::load({dir / "both"}, FakeTokenizer(), {}).examples.size() == 12);
  data::DataOptions tested;
  tested.files.part = data::Part::kTest;
  CHECK(data::load({dir / "both"}, FakeTokenizer(), tested).examples.size() == 12);
  fs::remove(dir / "one" / "data-00000-of-00001.arrow");  // half copied
  CHECK(contains(message_of<Error>([&] { data::load({dir / "one"}, FakeTokenizer(), {}); }),
                 "'data-00000-of-00001.arrow' holds a part of the rows and is not there"));
  write_text(dir / "bad" / "data.arrow", rows);
  write_text(dir / "bad" / "state.json", R"({"_data_files": [{"name": "x"}]})");
  CHECK(contains(message_of<Error>([&] { data::load({dir / "bad"}, FakeTokenizer(), {}); }), "state.json"));
}

TEST_CASE("Arrow files that are cut off or damaged are one sentence", "[unit]") {
  if (!formats::reads_parquet()) LOWRANK_SKIP("this build has no Arrow");
  TempDir dir;
  for (const char* name : {"messages_stream.arrow", "dictionary_file.arrow"}) {
    CAPTURE(name);
    const std::string bytes = read_text(goldens() / name);
    for (const std::size_t cut : {std::size_t{6}, bytes.size() / 2, bytes.size() - 1, bytes.size() - 8}) {
      write_text(dir / "cut.arrow", bytes.substr(0, cut));
      const std::string message = message_of<DataError>([&] { rows_of(dir / "cut.arrow"); });
      CHECK((contains(message, "cut.arrow: the Arrow file is damaged or was cut off") || contains(message, "does not begin as such files do")));
      CHECK_FALSE(contains(message, "\n"));
    }
    CHECK(read_of_changed(bytes, dir / "changed.arrow", name, 300) < 300);
  }
}

TEST_CASE("Parquet by another name, in folders, cut off, and damaged", "[unit]") {
  if (!formats::reads_parquet()) LOWRANK_SKIP("this build has no Arrow");
  TempDir dir;
  const std::string bytes = read_text(goldens() / "dictionary_none.parquet");
  write_text(dir / "rows.jsonl", bytes);
  CHECK(rows_of(dir / "rows.jsonl").size() == 12);
  write_text(dir / "data" / "train-00000-of-00001.parquet", bytes);
  write_text(dir / "data" / "test-00000-of-00001.parquet", bytes);
  fs::remove(dir / "rows.jsonl");
  const data::Dataset all = data::load({dir.path()}, FakeTokenizer(), {});
  CHECK(all.examples.size() == 12);
  CHECK(contains(all.report.notes.at(0), "data/train-00000-of-00001.parquet is read"));
  for (const std::size_t cut : {std::size_t{6}, bytes.size() / 2, bytes.size() - 1}) {
    write_text(dir / "cut.parquet", bytes.substr(0, cut));
    const std::string message = message_of<DataError>([&] { rows_of(dir / "cut.parquet"); });
    CHECK(contains(message, "cut.parquet: the Parquet file is damaged or was cut off"));
    CHECK_FALSE(contains(message, "\n"));
  }
  write_text(dir / "other.parquet", "no such thing");
  CHECK(contains(message_of<DataError>([&] { rows_of(dir / "other.parquet"); }), "does not begin as such files do"));
  CHECK(read_of_changed(bytes, dir / "changed.parquet", "parquet", 200) > 0);
}
