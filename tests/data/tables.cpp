// CSV and TSV: quotes, line ends, separators, columns.
#include <string>
#include <vector>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/labelled.h"
#include "lowrank/data/table_reader.h"

using namespace lowrank;
using namespace lowrank_test;
using Records = std::vector<std::vector<std::string>>;

namespace {

Records records(const std::string& content, char separator = 0) {
  TempDir dir;
  write_text(dir / "t.csv", content);
  data::TableReader reader(dir / "t.csv", separator);
  Records all;
  for (std::vector<std::string> fields; reader.next(fields);) all.push_back(fields);
  return all;
}

data::Dataset load(const std::string& name, const std::string& content) {
  TempDir dir;
  write_text(dir / name, content);
  return data::load({dir / name}, FakeTokenizer(), {});
}
std::string refusal(const std::string& content) {
  return message_of<DataError>([&] { load("t.csv", content); });
}
std::string text(const data::Dataset& all, std::size_t i) { return FakeTokenizer().decode(all.examples.at(i).ids, true); }

}  // namespace

TEST_CASE("fields are those of RFC 4180", "[unit]") {
  CHECK(records("a,b\r\n\"1, \"\"one\"\"\",\"two\r\nlines\"\n\n,\n\"\"\nlast,x") ==
        Records{{"a", "b"}, {"1, \"one\"", "two\r\nlines"}, {"", ""}, {""}, {"last", "x"}});
  CHECK(records("a\tb\n1,5\t\"x\ty\"\n") == Records{{"a", "b"}, {"1,5", "x\ty"}});
  CHECK(records("a;b,c\n1;2\n", ';') == Records{{"a", "b,c"}, {"1", "2"}});
  CHECK(records("a;b;c,d\n1;2;3\n") == Records{{"a", "b", "c,d"}, {"1", "2", "3"}});
  CHECK(records("sep=|\na|b,c,d\n") == Records{{"a", "b,c,d"}});
  CHECK(records("a,b\n5\" pipe,\"q\"\n") == Records{{"a", "b"}, {"5\" pipe", "q"}});  // a quote inside is itself
  CHECK(records("").empty());
}

TEST_CASE("rows of tables are keyed by the first line, in every verb's reader", "[unit]") {
  const std::string table = ",prompt,completion\n0,\"Name a pet, please.\n\",A cat.\n1,Name a fruit.,\"A \"\"pear\"\".\"\n";
  std::string tabs = table;
  for (std::size_t at = tabs.find(','); at != tabs.npos; at = tabs.find(',', at + 1)) {
    if (tabs.compare(at, 2, ", ") != 0) tabs[at] = '\t';
  }
  for (const auto& [name, content] : {std::pair{"t.csv", table}, std::pair{"t.tsv", tabs}, std::pair{"t.csv", tabs}}) {
    const data::Dataset all = load(name, content);
    REQUIRE(all.examples.size() == 2);
    CHECK(all.report.format == "prompt/completion");
    CHECK(text(all, 0) == "Name a pet, please.\nA cat.");
    CHECK(text(all, 1) == "Name a fruit.A \"pear\".");
    CHECK(contains(all.documents.at(1).where, "line 4"));
    CHECK(contains(all.report.notes.at(0), "not read: Unnamed: 0"));
  }
  TempDir dir;
  write_text(dir / "l.csv", "text,label\n\"good, day\",1\nbad,0\n");
  const data::LabelledTexts labelled = data::load_labelled({dir / "l.csv"}, FakeTokenizer(), 64);
  CHECK(labelled.labels == std::vector<std::string>{"0", "1"});
  write_text(dir / "rows.csv", "{\"text\": \"JSON by another name\"}\n");
  CHECK(data::load({dir / "rows.csv"}, FakeTokenizer(), {}).report.format == "text");
}

TEST_CASE("tables that are broken are refused with their line", "[unit]") {
  CHECK(contains(refusal("text,n\na,1\nb\n"), "t.csv line 3: expected 2 fields by comma, as the first line has, found 1"));
  CHECK(contains(refusal("text,n\n\"a\" b,1\n"), "line 2: text follows a closing quote"));
  CHECK(contains(refusal("text,n\na,1\n\"b,1\n\n\n"), "line 3: a quote is never closed"));
  CHECK(contains(refusal("text,text\na,1\n"), "text: expected a string, found two columns of this name"));
  CHECK(contains(refusal("text,n\n"), "holds no rows below its first line"));
  CHECK(contains(refusal("words,n\na,1\n"), "found \"words\", \"n\""));
  CHECK(contains(refusal("text,n\ncaf\xc3\xa9 \xff,1\n"), "text: expected a string, found bytes that are no UTF-8"));
}
