// Columns by name and layouts.
#include "lowrank/data/row_map.h"

#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/labelled.h"
#include "lowrank/data/preferences.h"

using namespace lowrank;
using namespace lowrank_test;
using data::RowMap;

namespace {

std::string mapped(const std::string& columns, const std::string& layout, const std::string& row) {
  const core::Json json = core::parse_json(row, "row");
  std::set<std::string> unread;
  std::string result = RowMap::parse(columns, layout)->apply({json, "x line 3"}, unread).dump();
  for (const std::string& key : unread) result += " -" + key;
  return result;
}

template <class Error>
std::string refusal(const std::string& columns, const std::string& layout, const std::string& row = "{}") {
  return message_of<Error>([&] { mapped(columns, layout, row); });
}

const std::string kRow = R"({"question": "Why?", "best_answer": "So.", "meta": {"n": [1, 2.5], "ok": true}, "a.b": "dots"})";

}  // namespace

TEST_CASE("columns are read by the names they have", "[unit]") {
  CHECK(RowMap::parse("", "") == nullptr);
  CHECK(mapped("prompt=question, completion=best_answer", "", kRow) ==
        R"({"prompt":"Why?","completion":"So."} -a.b -meta)");
  CHECK(mapped("text=meta.n.1", "", kRow) == R"({"text":2.5} -a.b -best_answer -question)");
  CHECK(mapped("text=a.b", "", kRow) == R"({"text":"dots"} -best_answer -meta -question)");
  CHECK(mapped("messages=meta.n", "", kRow) == R"({"messages":[1,2.5]} -a.b -best_answer -question)");
}

TEST_CASE("a layout makes a text of columns; what stands in [[ ]] is learned", "[unit]") {
  CHECK(mapped("", "{question}\n[[{best_answer}]]", kRow) == R"({"prompt":"Why?\n","completion":"So."} -a.b -meta)");
  CHECK(mapped("", "Q: { question }\\nA:[[ {best_answer} ({meta.n.0}, {meta.n.1}, {meta.ok})]]", kRow) ==
        R"x({"prompt":"Q: Why?\nA:","completion":" So. (1, 2.5, true)"} -a.b)x");
  CHECK(mapped("", "# {{{question}}}\\t\\\\{best_answer}", kRow) == R"({"text":"# {Why?}\t\\So."} -a.b -meta)");
}

TEST_CASE("columns and layouts that are none are refused; columns that are not there are named with the nearest",
          "[unit]") {
  CHECK(contains(refusal<ConfigError>("prompt", ""), "expected NAME=COLUMN"));
  CHECK(contains(refusal<ConfigError>("promt=question", ""), "did you mean 'prompt'"));
  CHECK(contains(refusal<ConfigError>("text=a,text=b", ""), "'text' is there twice"));
  CHECK(contains(refusal<ConfigError>("text=a", "{a}"), "give one of them"));
  CHECK(contains(refusal<ConfigError>("", "{a}[[b]] c"), "something stands after ]]"));
  CHECK(contains(refusal<ConfigError>("", "{a}[[b"), "[[ without ]]"));
  CHECK(contains(refusal<ConfigError>("", "[[{a}[[b]]"), "[[ is there twice"));
  CHECK(contains(refusal<ConfigError>("", "{a"), "a { without"));
  CHECK(contains(refusal<ConfigError>("", "a}"), "a } without"));
  CHECK(contains(refusal<ConfigError>("", "{}"), "a { without"));
  CHECK(contains(refusal<ConfigError>("", "{a}[[b]]"), "no column that is learned"));
  CHECK(contains(refusal<DataError>("text=best_anser", "", kRow),
                 "x line 3: there is no column 'best_anser', which `columns` names, did you mean 'best_answer'? (its "
                 "columns: question, best_answer, meta, meta.n"));
  CHECK(contains(refusal<DataError>("", "{meta.oks}", kRow), "did you mean 'meta.ok'"));
  CHECK(contains(refusal<DataError>("", "{meta}", kRow), "x line 3: meta: expected a text, a number or a truth value"));
  CHECK(contains(refusal<DataError>("text=a", "", "[1]"), "the row is no object"));
}

TEST_CASE("columns reach every reader of rows", "[unit]") {
  TempDir dir;
  write_text(dir / "r.jsonl", kRow + "\n");
  data::DataOptions options;
  options.files.map = RowMap::parse("", "{question} [[{best_answer}]]");
  const data::Dataset all = data::load({dir / "r.jsonl"}, FakeTokenizer(), options);
  CHECK(learned_text(FakeTokenizer(), all.examples.at(0).ids, all.examples.at(0).learned) == "So.</s>");
  CHECK(contains(all.report.notes.at(0), "columns that are not read: a.b, meta"));
  write_text(dir / "p.csv", "q,good,bad,kind\nWhy?, So., No.,1\nWho?, I., You.,2\n");
  const data::FileOptions pairs{data::Part::kTrain, RowMap::parse("prompt=q,chosen=good,rejected=bad", "")};
  CHECK(data::load_preferences({dir / "p.csv"}, FakeTokenizer(), 64, nullptr, nullptr, pairs).examples.size() == 4);
  const data::FileOptions labels{data::Part::kTrain, RowMap::parse("text=q,label=kind", "")};
  CHECK(data::load_labelled({dir / "p.csv"}, FakeTokenizer(), 64, {}, nullptr, labels).labels.size() == 2);
}
