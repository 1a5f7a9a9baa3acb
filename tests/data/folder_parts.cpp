// Folders whose files are named after the parts of a data set.
#include "lowrank/data/folder_parts.h"

#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/sources.h"

using namespace lowrank;
using namespace lowrank_test;
using data::Part;

namespace {

std::string row(const std::string& part, int i) {
  return "{\"prompt\": \"" + part + " question " + std::to_string(i) + ": which colour?\", \"completion\": \" red\"}\n";
}

data::Dataset load_folder(const fs::path& folder, Part part = Part::kTrain) {
  data::DataOptions options;
  options.files.part = part;
  return data::load({folder}, FakeTokenizer(), options);
}

}  // namespace

TEST_CASE("train.jsonl trains, valid.jsonl validates, test.jsonl is left alone, and a line says so", "[unit]") {
  TempDir dir;
  for (int i = 0; i < 3; ++i) {
    for (const char* part : {"train", "valid", "test"}) {
      write_text(dir / (part + std::string(".jsonl")), row(part, 0) + row(part, 1));
    }
  }
  write_text(dir / "README.md", "About the colours.");
  const auto first = [](const data::Dataset& all) { return FakeTokenizer().decode(all.examples.at(0).ids, true); };
  const data::Dataset train = load_folder(dir.path());
  CHECK(train.report.files == 1);
  CHECK(train.examples.size() == 2);
  CHECK(first(train).starts_with("train"));
  CHECK(contains(train.report.notes.at(1), "train.jsonl is read, the training part; valid.jsonl is its validation part; "
                                           "test.jsonl is left alone"));
  CHECK(first(load_folder(dir.path(), Part::kValidation)).starts_with("valid"));
  const data::Dataset test = load_folder(dir.path(), Part::kTest);
  CHECK(first(test).starts_with("test"));
  CHECK(contains(test.report.notes.at(1), "test.jsonl is read, the test part"));
  CHECK(data::validation_files({dir.path()}, data::Format::kAuto) == std::vector<fs::path>{dir / "valid.jsonl"});

  fs::remove(dir / "test.jsonl");
  CHECK(first(load_folder(dir.path(), Part::kTest)).starts_with("valid"));
  fs::rename(dir / "valid.jsonl", dir / "test.jsonl");
  CHECK(data::validation_files({dir.path()}, data::Format::kAuto).empty());
  CHECK(contains(message_of<DataError>([&] { load_folder(dir.path(), Part::kValidation); }), "has no validation part"));
  fs::remove(dir / "test.jsonl");
  write_text(dir / "more.jsonl", row("more", 0));
  CHECK(load_folder(dir.path()).examples.size() == 3);  // no parts: all of it
}

TEST_CASE("parts are told by words of names and folders", "[unit]") {
  const auto part = [](const char* name) { return data::part_of_name(name); };
  for (const char* name : {"train.jsonl", "data/train-00000-of-00002.parquet", "training/a.txt", "wiki.train.txt",
                           "alpaca_TRAIN.json", "train/test-notes.txt"})
    CHECK(part(name) == Part::kTrain);
  for (const char* name : {"valid.jsonl", "validation.csv", "val.jsonl", "dev/a.jsonl", "gsm8k_dev.json"})
    CHECK(part(name) == Part::kValidation);
  for (const char* name : {"test.jsonl", "test_socratic.jsonl", "eval-1.txt", "my.evaluation.jsonl"})
    CHECK(part(name) == Part::kTest);
  for (const char* name : {"trains.txt", "contest.jsonl", "latest.txt", "developer.txt", "value.jsonl", "a.txt"})
    CHECK_FALSE(part(name).has_value());
}

TEST_CASE("a folder of .json is read; objects that describe a set of rows are not", "[unit]") {
  TempDir dir;
  write_text(dir / "a.json", "{\n \"prompt\": \"a\",\n \"completion\": \"b\"\n}\n");
  write_text(dir / "b.json", "{\"prompt\": \"c\", \"completion\": \"d\"}");
  CHECK(load_folder(dir.path()).examples.size() == 2);
  write_text(dir / "rows.jsonl", row("train", 0));
  write_text(dir / "all.json", "[" + row("train", 1) + "]");
  const data::Dataset all = load_folder(dir.path());
  CHECK(all.examples.size() == 2);
  CHECK(contains(all.report.notes.at(0), "2 other files"));
}
