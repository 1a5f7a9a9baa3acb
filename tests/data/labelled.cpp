// Labelled texts: their rows, numbers of classes, split and faults.
#include "lowrank/data/labelled.h"

#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"

using namespace lowrank;
using namespace lowrank_test;
using data::LabelledTexts;

namespace {

LabelledTexts load(const std::string& content, int seq_len = 1024, const std::vector<std::string>& labels = {},
                   const std::string& name = "texts.jsonl") {
  TempDir dir;
  write_text(dir / name, content);
  return data::load_labelled({dir / name}, FakeTokenizer(), seq_len, labels);
}

}  // namespace

TEST_CASE("labels are numbered in their order, numbers as numbers", "[unit]") {
  const LabelledTexts words = load(R"({"text": "x", "label": "b"}
{"text": "yy", "label": "a", "id": 4}
{"text": " ", "label": "c"}
{"text": "yy", "labels": "b"}
)");
  CHECK(words.labels == std::vector<std::string>{"a", "b"});
  CHECK(words.classes == std::vector<std::int64_t>{1, 0, 1});
  CHECK(words.counts(words.texts) == std::vector<std::int64_t>{1, 2});
  CHECK(words.texts.report.empty == 1);
  CHECK(words.texts.report.duplicates == 1);
  CHECK(words.texts.report.format == "text/label + text/labels");
  CHECK(contains(words.texts.report.notes.at(0), "id"));
  REQUIRE(words.texts.examples.size() == 3);
  CHECK(FakeTokenizer().decode(words.texts.examples[1].ids, false) ==
        "<s>yy");  // as transformers' tokenizer: no end token

  const LabelledTexts numbers =
      load("[{\"text\": \"x\", \"label\": 10}, {\"text\": \"y\", \"label\": 2}, {\"text\": \"z\", \"label\": -1}]",
           1024, {}, "texts.json");
  CHECK(numbers.labels == std::vector<std::string>{"-1", "2", "10"});
  CHECK(numbers.classes == std::vector<std::int64_t>{2, 1, 0});
  CHECK(load("{\"text\": \"x\", \"label\": \"b\"}\n", 1024, {"a", "b"}).classes == std::vector<std::int64_t>{1});
}

TEST_CASE("a label is the same however it is written: 1.0 as 1, truth values by name, without blanks at its ends", "[unit]") {
  const LabelledTexts numbers = load("{\"text\": \"x\", \"label\": 1.0}\n{\"text\": \"y\", \"label\": 1}\n{\"text\": \"z\", \"label\": -0.0}\n");
  CHECK(numbers.labels == std::vector<std::string>{"0", "1"});
  CHECK(numbers.classes == std::vector<std::int64_t>{1, 1, 0});
  const LabelledTexts truths = load("{\"text\": \"x\", \"label\": true}\n{\"text\": \"y\", \"label\": false}\n");
  CHECK(truths.labels == std::vector<std::string>{"false", "true"});
  CHECK(truths.classes == std::vector<std::int64_t>{1, 0});
  const LabelledTexts blanks = load("{\"text\": \"x\", \"label\": \"pos \"}\n{\"text\": \"y\", \"label\": \"\\tpos\"}\n{\"text\": \"z\", \"label\": \"neg\"}\n");
  CHECK(blanks.labels == std::vector<std::string>{"neg", "pos"});
  CHECK(blanks.texts.report.notes == std::vector<std::string>{"2 labels have blanks at an end, which are no part of them"});
  CHECK(load("{\"text\": \"x\", \"label\": \"b\"}\n", 1024, {"a", "b "}).classes == std::vector<std::int64_t>{1});
}

TEST_CASE("a row whose columns have other names says what `columns` would be", "[unit]") {
  const auto fault = [](const std::string& row) { return message_of<DataError>([&] { load(row + "\n"); }); };
  CHECK(contains(fault(R"({"review": "good enough", "id": "7", "stars": 4})"), "`columns` text=review,label=stars"));
  CHECK(contains(fault(R"({"text": "good", "stars": 4})"), "`columns` label=stars"));
  CHECK(contains(fault(R"({"sentence": "good", "label": 4})"), "`columns` text=sentence"));
  CHECK(contains(fault(R"({"text": "good", "x": 4})"), "`columns` label=COLUMN"));
}

TEST_CASE("a long text is cut at its end and counted", "[unit]") {
  const LabelledTexts texts = load("{\"text\": \"abcdef\", \"label\": 0}\n", 4);
  CHECK(FakeTokenizer().decode(texts.texts.examples.at(0).ids, false) == "<s>abc");
  CHECK(texts.texts.report.truncated == 1);
  CHECK(texts.texts.report.truncated_tokens == 3);
}

TEST_CASE("rows without a text or a label, and labels that are not learned, are named by file and line", "[unit]") {
  const std::string good = "{\"text\": \"x\", \"label\": \"art\"}\n";
  const auto fault = [&](const std::string& row, const std::vector<std::string>& labels = {}) {
    return message_of<DataError>([&] { load(good + row + "\n", 1024, labels); });
  };
  for (const std::string& row :
       {std::string("{\"text\": \"y\"}"), std::string("{\"text\": \"y\", \"label\": null}"),
        std::string("{\"text\": \"y\", \"label\": 1.5}"), std::string("{\"text\": \"y\", \"label\": [1]}"),
        std::string("{\"label\": \"art\"}"), std::string("{\"text\": 3, \"label\": \"art\"}"), std::string("[1]")}) {
    INFO(row);
    CHECK(contains(fault(row), "texts.jsonl line 2"));
  }
  const std::string unknown = fault("{\"text\": \"y\", \"label\": \"arts\"}", {"art", "story"});
  CHECK(contains(unknown, "line 2"));
  CHECK(contains(unknown, "'arts'"));
  CHECK(contains(unknown, "art, story"));
  CHECK(contains(message_of<DataError>([] { load("{\"text\": \" \", \"label\": 1}\n"); }), "no labelled text is left"));
  CHECK(contains(message_of<DataError>([] { load("text", 9, {}, "texts.txt"); }), "plain text"));
}

TEST_CASE("a split holds out the same share of every class, and nothing of few texts", "[unit]") {
  std::string rows;
  for (int i = 0; i < 60; ++i)
    rows += "{\"text\": \"" + std::to_string(i) + "\", \"label\": " + (i % 6 == 0 ? "\"rare\"" : "\"often\"") + "}\n";
  rows += "{\"text\": \"alone\", \"label\": \"single\"}\n";
  const LabelledTexts all = load(rows);
  const data::Split parts = data::split_labelled(all, 0.2, 7);
  CHECK(all.counts(parts.validation) == std::vector<std::int64_t>{10, 2, 0});
  CHECK(all.counts(parts.train) == std::vector<std::int64_t>{40, 8, 1});
  const data::Split again = data::split_labelled(all, 0.2, 7), other = data::split_labelled(all, 0.2, 8);
  CHECK(again.validation.examples.at(3).ids == parts.validation.examples.at(3).ids);
  bool same = true;
  for (std::size_t i = 0; i < 12; ++i)
    same = same && other.validation.examples[i].ids == parts.validation.examples[i].ids;
  CHECK_FALSE(same);
  const LabelledTexts few = load(rows.substr(0, rows.find("\"10\"") - 9));
  CHECK(data::split_labelled(few, 0.2, 7).validation.examples.empty());
}
