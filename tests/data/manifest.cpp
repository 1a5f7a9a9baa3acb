// Folders that list their sets: LLaMA-Factory's dataset_info.json, the README of a Hugging Face data set.
#include "lowrank/data/manifest.h"

#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/preferences.h"
#include "lowrank/data/sources.h"

using namespace lowrank;
using namespace lowrank_test;
using data::Part;

namespace {

data::Dataset load_part(const fs::path& path, Part part = Part::kTrain) {
  data::DataOptions options;
  options.files.part = part;
  return data::load({path}, FakeTokenizer(), options);
}
std::string text(const data::Dataset& all) { return FakeTokenizer().decode(all.examples.at(0).ids, true); }

}  // namespace

TEST_CASE("LLaMA-Factory's dataset_info.json names sets, columns, turns' keys and roles", "[unit]") {
  TempDir dir;
  write_text(dir / "dataset_info.json", R"({
    "plain": {"file_name": "plain.json"},
    "qa": {"file_name": "sub/qa.jsonl", "columns": {"prompt": "question", "response": "reply", "query": null}},
    "chat": {"file_name": "chat.json", "formatting": "sharegpt", "columns": {"messages": "talk"},
             "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "u", "assistant_tag": "a"}},
    "pairs": {"file_name": "pairs.json", "ranking": true, "columns": {"prompt": "question", "chosen": "good", "rejected": "bad"}},
    "far": {"hf_hub_url": "org/name"}, "part": {"file_name": "plain.json", "num_samples": 3},
    "seen": {"file_name": "plain.json", "columns": {"images": "pictures"}}})");
  const std::string row = R"("instruction": "Do", "input": "it", "output": "Done")";
  write_text(dir / "plain.json", "[{" + row + "}]");
  write_text(dir / "sub" / "qa.jsonl", R"({"question": "Why?", "reply": "So.", "n": 1})");
  write_text(dir / "chat.json", R"([{"talk": [{"who": "u", "says": "Hi"}, {"who": "a", "says": "Ho"}], "n": 1}])");
  write_text(dir / "pairs.json", R"([{"question": "Why?", "good": "So.", "bad": "No."}])");
  CHECK(load_part(dir / "plain").report.format == "Alpaca");
  const data::Dataset qa = load_part(dir / "qa");
  CHECK(text(qa).ends_with("### Instruction:\nWhy?\n\n### Response:\nSo."));
  CHECK(contains(qa.report.notes.at(0), "the set qa is sub/qa.jsonl"));
  CHECK(contains(qa.report.notes.back(), "n"));
  CHECK(text(load_part(dir / "chat")) == "User: Hi\nAssistant: Ho");
  CHECK(data::load_preferences({dir / "pairs"}, FakeTokenizer(), 256).examples.size() == 2);
  CHECK(contains(message_of<DataError>([&] { load_part(dir.path()); }), "lists several sets (plain, qa, chat"));
  CHECK(contains(message_of<MissingError>([&] { load_part(dir / "plan"); }), "did you mean 'plain'"));
  CHECK(contains(message_of<DataError>([&] { load_part(dir / "far"); }), "far: the set is no file"));
  CHECK(contains(message_of<DataError>([&] { load_part(dir / "part"); }), "num_samples: is not read here"));
  CHECK(contains(message_of<DataError>([&] { load_part(dir / "seen"); }), "images: the column of images is not read"));
  CHECK(load_part((dir / "plain").string() + "*2").weights == std::vector<double>{2});
  // A file of the name goes before a set's.
  write_text(dir / "qa", R"({"text": "file"})");
  CHECK(text(load_part(dir / "qa")) == "file");
  // One set alone needs no name; Hugging Face's file of that name lists none.
  write_text(dir / "one" / "dataset_info.json", R"({"only": {"file_name": "r.jsonl"}})");
  write_text(dir / "one" / "r.jsonl", "{" + row + "}");
  write_text(dir / "one" / "more.jsonl", "{" + row + "}");
  CHECK(load_part(dir / "one").examples.size() == 1);
  write_text(dir / "one" / "dataset_info.json", R"({"builder_name": "json", "features": {"text": {"dtype": "string"}}})");
  CHECK(load_part(dir / "one").examples.size() == 2);
}

TEST_CASE("the README of a Hugging Face data set says which files are which part of which config", "[unit]") {
  TempDir dir;
  write_text(dir / "README.md", R"(---
license: mit
configs:
- config_name: main
  default: true
  data_files:
  - split: train
    path: data/main-a-*.jsonl
  - split: validation
    path: ["data/main-v.jsonl"]
  - split: test
    path: data/main-t.jsonl
- config_name: extra
  data_files: "**/extra*.jsonl"
- config_name: gone
  data_files: no/*.jsonl
---
# About
)");
  for (const char* name : {"main-a-0", "main-a-1", "main-v", "main-t", "extra"}) {
    write_text(dir / "data" / (name + std::string(".jsonl")), "{\"text\": \"" + std::string(name) + "\"}");
  }
  const data::Dataset train = load_part(dir.path());
  CHECK(train.examples.size() == 2);
  CHECK(text(train) == "main-a-0");
  CHECK(contains(train.report.notes.at(0), "the set main; "));
  CHECK(contains(train.report.notes.at(0), "data/main-v.jsonl is its validation part; data/main-t.jsonl is left alone"));
  CHECK(text(load_part(dir.path(), Part::kValidation)) == "main-v");
  CHECK(text(load_part(dir.path(), Part::kTest)) == "main-t");
  CHECK(data::validation_files({dir.path()}, data::Format::kAuto) ==
        std::vector<fs::path>{dir / "data" / "main-v.jsonl"});
  CHECK(text(load_part(dir / "extra")) == "extra");
  CHECK(contains(message_of<DataError>([&] { load_part(dir / "extra", Part::kValidation); }), "has no such part"));
  CHECK(contains(message_of<MissingError>([&] { load_part(dir / "gone"); }), "no file matches 'no/*.jsonl'"));
  CHECK(contains(message_of<MissingError>([&] { load_part(dir / "mian"); }), "did you mean 'main'"));
  // Lines as Windows ends them, and braces.
  write_text(dir / "README.md", "---\r\nconfigs:\r\n- data_files: \"data/{extra,main-{v,t}}.jsonl\"\r\n---\r\n");
  CHECK(load_part(dir.path()).examples.size() == 3);
  write_text(dir / "README.md", "---\nconfigs: [\n---\n");
  CHECK(contains(message_of<DataError>([&] { load_part(dir.path()); }), "its front matter line 2: not valid YAML"));
  // Few lines that stand for thousands of millions of values, or for themselves.
  std::string bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (char name = 'b'; name < 'k'; ++name) {
    bomb += std::string(1, name) + ": &" + name + " [";
    for (int i = 0; i < 10; ++i) bomb += std::string(i > 0 ? ", *" : "*") + static_cast<char>(name - 1);
    bomb += "]\n";
  }
  for (const std::string& front : {bomb + "configs: *j\n", std::string("configs: &c [*c]\n")}) {
    write_text(dir / "README.md", "---\n" + front + "---\n");
    CHECK(contains(message_of<DataError>([&] { load_part(dir.path()); }), "write it out without references"));
  }
  write_text(dir / "README.md", "---\nlicense: mit\n---\n");
  CHECK(load_part(dir.path()).examples.size() == 5);
}

TEST_CASE("a config of a Hugging Face data set may be a folder, whose files say their parts by their names", "[unit]") {
  TempDir dir;
  write_text(dir / "README.md", "---\nconfigs:\n- config_name: en\n  data_dir: sets/en\n  default: true\n"
                                "- config_name: de\n  data_dir: ./sets/de\n- config_name: some\n  data_dir: sets\n"
                                "  data_files: \"*/train.jsonl\"\n- config_name: out\n  data_dir: ../x\n"
                                "- config_name: gone\n  data_dir: sets/fr\n---\n");
  write_text(dir / "sets" / "en" / "train.jsonl", "{\"text\": \"en train\"}");
  write_text(dir / "sets" / "en" / "test.jsonl", "{\"text\": \"en test\"}");
  write_text(dir / "sets" / "en" / "valid.jsonl", "{\"text\": \"en valid\"}");
  write_text(dir / "sets" / "en" / "notes.pdf", "x");
  write_text(dir / "sets" / "en" / ".cache" / "train.jsonl", "{\"text\": \"hidden\"}");
  write_text(dir / "sets" / "de" / "all.jsonl", "{\"text\": \"de\"}");
  CHECK(load_part(dir.path()).examples.size() == 1);
  CHECK(text(load_part(dir / "en")) == "en train");
  CHECK(contains(load_part(dir / "en").report.notes.at(0), "the set en; "));
  CHECK(text(load_part(dir / "en", Part::kTest)) == "en test");
  CHECK(data::validation_files({dir.path()}, data::Format::kAuto) ==
        std::vector<fs::path>{dir / "sets" / "en" / "valid.jsonl"});
  CHECK(text(load_part(dir / "de")) == "de");
  CHECK(data::validation_files({dir / "de"}, data::Format::kAuto).empty());
  CHECK(text(load_part(dir / "some")) == "en train");
  CHECK(contains(message_of<DataError>([&] { load_part(dir / "out"); }), "data_dir '../x' leads out"));
  CHECK(contains(message_of<MissingError>([&] { load_part(dir / "gone"); }), "data_dir 'sets/fr' is no folder"));
}
