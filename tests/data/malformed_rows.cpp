// Rows that must be refused, each with its own message, file and line; and mutations of rows that are right.
#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/core/random.h"
#include "lowrank/data/assemble.h"
#include "lowrank/data/conversation.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/line_reader.h"
#include "lowrank/data/row_file.h"

using namespace lowrank;
using namespace std::string_literals;
using lowrank_test::contains;
using lowrank_test::FakeTokenizer;
using lowrank_test::message_of;
using lowrank_test::TempDir;
using lowrank_test::write_text;

namespace {

const std::string kGood = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";

data::Dataset load(const std::filesystem::path& file, data::Format format = data::Format::kAuto) {
  data::DataOptions options;
  options.format = format;
  return data::load({file}, FakeTokenizer(), options);
}

struct Refused {
  const char* name;
  std::string content;
  std::string where, what;  // parts of the message
};

}  // namespace

TEST_CASE("rows with a BOM, CRLF, blank lines and no newline at the end are read", "[unit]") {
  TempDir dir;
  write_text(dir / "t.jsonl", "\xef\xbb\xbf{\"text\": \"a\"}\r\n\r\n  \n{\"text\": \"\\ud83d\\ude00 \\\\ud800\"}");
  const data::Dataset all = load(dir / "t.jsonl");
  CHECK(all.report.documents == 2);
  CHECK(all.report.bom_files == 1);
  CHECK(all.report.crlf_files == 1);
  CHECK(FakeTokenizer().decode(all.examples.at(1).ids, true) == "\xf0\x9f\x98\x80 \\ud800");
  CHECK(contains(all.documents.at(1).where, "t.jsonl line 4"));
}

TEST_CASE("rows whose keys have other names are refused with the columns that would read them", "[unit]") {
  TempDir dir;
  const auto advice = [&](const std::string& row) {
    write_text(dir / "rows.jsonl", row);
    const std::string message = message_of<DataError>([&] { load(dir / "rows.jsonl"); });
    const std::size_t begin = message.find("with `columns`") + 14;
    return message.substr(begin, message.find(", or lay them out") - begin);
  };
  CHECK(advice(R"({"instruction": "a", "context": "b", "response": "c", "category": "d"})") ==
        " instruction=instruction,input=context,output=response");
  CHECK(advice(R"({"instruction": "a", "response": "c"})") == " instruction=instruction,output=response");
  CHECK(advice(R"({"query": "a", "response": "c"})") == " prompt=query,completion=response");
  CHECK(advice(R"({"document": "a", "summary": "c"})") == " prompt=document,completion=summary");
  CHECK(advice(R"({"content": "a"})") == " text=content");
  CHECK(advice(R"({"query": "a", "response": ["c"]})").empty());  // not a text
  CHECK(advice(R"({"id": 3})").empty());
}

TEST_CASE("earlier turns of Alpaca's rows are refused where no template lays them out", "[unit]") {
  TempDir dir;
  const std::string row = R"({"instruction": "a", "input": "", "output": "b", "history": )";
  write_text(dir / "none.jsonl", row + "[]}\n" + row + "null}\n");
  CHECK(load(dir / "none.jsonl").report.documents == 2);
  write_text(dir / "some.jsonl", row + R"([["q", "a"]]})");
  CHECK(contains(message_of<DataError>([&] { load(dir / "some.jsonl"); }), "some.jsonl line 1: history: earlier turns have no place"));
}

TEST_CASE("malformed JSON lines are refused with file, line and reason", "[unit]") {
  const std::vector<Refused> cases = {
      {"NUL byte", kGood + "{\"prompt\": \"a\0\", \"completion\": \"b\"}\n"s, "line 2", "NUL byte"},
      {"NUL escape", kGood + "{\"prompt\": \"\\u0000\", \"completion\": \"b\"}\n", "line 2", "\\u0000"},
      {"high surrogate", kGood + "{\"prompt\": \"\\ud800\", \"completion\": \"b\"}\n", "line 2", "surrogate"},
      {"low surrogate", kGood + "{\"prompt\": \"\\udc00x\", \"completion\": \"b\"}\n", "line 2", "surrogate"},
      {"surrogate then no pair", kGood + "{\"prompt\": \"\\ud800\\u0041\", \"completion\": \"b\"}\n", "line 2",
       "surrogate"},
      {"raw surrogate", kGood + "{\"prompt\": \"\xed\xa0\x80\", \"completion\": \"b\"}\n", "line 2", "UTF-8"},
      {"invalid UTF-8", kGood + "{\"prompt\": \"\xff\", \"completion\": \"b\"}\n", "line 2", "UTF-8"},
      {"wrong type", kGood + "\n{\"prompt\": \"a\", \"completion\": 4}\n", "line 3", "completion"},
      {"null row", kGood + "null\n", "line 2", "the row is null"},
      {"null", kGood + "{\"prompt\": null, \"completion\": \"b\"}\n", "line 2", "prompt"},
      {"row is a list", kGood + "[1, 2]\n", "line 2", "found a list of something else"},
      {"row is a string", "\"text\"\n", "line 1", "found string"},
      {"missing key", kGood + kGood + "{\"prompt\": \"a\"}\n", "line 3",
       "\"completion\" is missing (rows of this file are prompt/completion)"},
      {"mixed formats", kGood + "{\"text\": \"a\"}\n", "line 2", "the row is text"},
      {"mixed formats, the other", kGood + "{\"text\": \"a\"}\n", "line 2", "began with prompt/completion"},
      {"mixed questions", kGood + "{\"question\": \"a\", \"answer\": \"b\"}\n", "line 2", "question/answer"},
      {"unknown keys", "{\"input_text\": \"a\"}\n", "line 1", "\"input_text\""},
      {"preference pair", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n", "line 1", "preference"},
      {"truncated", kGood + "{\"prompt\": \"a\", \"comp", "line 2", "line 2"},
      {"two values", kGood + "{\"text\": \"a\"} {\"text\": \"b\"}\n", "line 2", "line 2"},
      {"duplicate keys", "{\"text\": \"a\", \"text\": \"b\"}\n", "line 1", "text"},
      {"deep", "{\"text\": " + std::string(100000, '[') + std::string(100000, ']') + "}\n", "line 1", "line 1"},
      {"role", "{\"messages\": [{\"role\": \"asistant\", \"content\": \"a\"}]}\n", "line 1",
       "did you mean 'assistant'"},
      {"turns", "{\"messages\": \"hi\"}\n", "line 1", "messages"},
      {"turn", "{\"messages\": [3]}\n", "line 1", "messages"},
      {"content", "{\"messages\": [{\"role\": \"user\", \"content\": null}]}\n", "line 1", "content"},
      {"picture", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}\n", "line 1",
       "image_url"},
      {"UTF-16, cut off", "\xff\xfe{\0\"\0t"s, "", "half a character"},
      {"UTF-16, half a pair", "\xff\xfe{\0\0\xd8{\0"s, "", "half a character"},
      {"gzip", "\x1f\x8b\x08\0"s, "", "gzip"},
      {"zstd", "\x28\xb5\x2f\xfd"s, "", "zstd"},
      {"Parquet", "PAR1\x15\0\x15"s, "", "Parquet"},
      {"empty", "", "", "is empty"},
      {"blank", "\n\n  \r\n", "", "holds no rows"},
  };
  for (const Refused& c : cases) {
    TempDir dir;
    write_text(dir / "train.jsonl", c.content);
    const std::string message = message_of<DataError>([&] { load(dir / "train.jsonl"); });
    INFO(c.name << ": " << message);
    CHECK(contains(message, "train.jsonl"));
    CHECK(contains(message, c.where));
    CHECK(contains(message, c.what));
    CHECK(message.size() < 1000);
    CHECK_FALSE(contains(message, "\n"));
  }
}

TEST_CASE("malformed arrays of rows are refused with file, row and reason", "[unit]") {
  const std::vector<Refused> cases = {
      {"empty", "", "", "is empty"},
      {"empty list", "[]", "", "holds no rows"},
      {"not a row", "[{\"text\": \"a\"}, 3]", "row 2", "found number"},
      {"mixed", "[{\"text\": \"a\"}, {\"prompt\": \"a\", \"completion\": \"b\"}]", "row 2", "began with text"},
      {"open", "[{\"text\": \"a\"}", "", "rows.json"},
      {"surrogate", "[{\"text\": \"\\udead\"}]", "", "surrogate"},
      {"gzip", "\x1f\x8b", "", "gzip"},
  };
  for (const Refused& c : cases) {
    TempDir dir;
    write_text(dir / "rows.json", c.content);
    const std::string message = message_of<DataError>([&] { load(dir / "rows.json"); });
    INFO(c.name << ": " << message);
    CHECK(contains(message, "rows.json"));
    CHECK(contains(message, c.where));
    CHECK(contains(message, c.what));
  }
}

TEST_CASE("text that begins with the letters of another format is text", "[unit]") {
  TempDir dir;
  for (const char* text : {"PAR1 is how a Parquet file begins.\n", "PK\x03\x04 is how a zip archive begins.\n"}) {
    write_text(dir / "t.txt", text);
    CHECK(load(dir / "t.txt").documents.size() == 1);
  }
}

TEST_CASE("a line over the limit is refused before it is held in memory", "[unit]") {
  TempDir dir;
  write_text(dir / "long.jsonl", "{}\n" + std::string(100, 'x') + "\n{}\n");
  data::LineReader reader(dir / "long.jsonl", 99);
  std::string_view line;
  CHECK(reader.next(line));
  CHECK(line == "{}");
  CHECK(contains(message_of<DataError>([&] { reader.next(line); }), "long.jsonl line 2 is longer than"));
  data::LineReader enough(dir / "long.jsonl", 100);
  for (int i = 0; i < 3; ++i) CHECK(enough.next(line));
  CHECK_FALSE(enough.next(line));
  CHECK(enough.line_number() == 3);
  CHECK(enough.bytes_read() == 107);

  // A 4 GB line, as a hole in a file: refused at the limit.
  write_text(dir / "hole.jsonl", "{\"text\": \"");
  std::filesystem::resize_file(dir / "hole.jsonl", std::uint64_t{4} << 30);
  CHECK(contains(message_of<DataError>([&] { load(dir / "hole.jsonl"); }), "line 1 is longer than 128"));
}

TEST_CASE("lines of any length come through the buffer whole", "[unit]") {
  TempDir dir;
  const std::string first((std::size_t{1} << 20) - 1, 'a'), second((std::size_t{1} << 20) + 5, 'b');
  write_text(dir / "t.jsonl", first + "\r\n" + second + "\n\nend");
  data::LineReader reader(dir / "t.jsonl");
  std::string_view line;
  REQUIRE(reader.next(line));
  CHECK(line == first);
  REQUIRE(reader.next(line));
  CHECK(line == second);
  REQUIRE(reader.next(line));
  CHECK(line.empty());
  REQUIRE(reader.next(line));
  CHECK(line == "end");
  CHECK_FALSE(reader.next(line));
  CHECK(reader.facts().had_crlf);
}

namespace {

const std::vector<std::string> kValid = {
    "{\"prompt\": \"1+1=\\u00e9\", \"completion\": \" \\ud83d\\ude00\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n",
    "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", \"content\": \"b\"}]}",
    "{\"instruction\": \"a\", \"input\": \"\", \"output\": \"b\"}\r\n\n{\"instruction\": \"c\", \"output\": \"d\"}",
    "[{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"b\"}]}]"};

/// One to four bytes changed, put in, left out, or the end cut off; the i-th way.
std::string mutated(std::string bytes, std::uint64_t i) {
  const core::RandomStream random(1, "mutations");
  const auto changes = 1 + random.below(4, i, 0);
  for (std::uint64_t c = 0; c < changes && !bytes.empty(); ++c) {
    const auto at = random.below(bytes.size(), i, 10 * c + 1);
    // Mostly printable: any other byte in JSON is refused at the same place.
    const auto byte =
        static_cast<char>(c % 4 == 3 ? random.below(256, i, 10 * c + 2) : 32 + random.below(95, i, 10 * c + 2));
    switch (random.below(7, i, 10 * c + 3)) {
      case 0:
      case 1:
        bytes[at] = byte;
        break;
      case 2:
      case 3:
        bytes.insert(at, 1, byte);
        break;
      case 4:
      case 5:
        bytes.erase(at, 1);
        break;
      default:
        bytes.resize(at);
    }
  }
  return bytes;
}

/// Whether `read` gives sound examples; a DataError is an answer, anything else fails the test.
template <class Read>
bool accepted(Read&& read) {
  try {
    const data::Dataset all = read();
    for (const data::Example& example : all.examples) {
      if (example.ids.size() != example.learned.size() || example.counted() == 0) FAIL("a broken example");
    }
    return true;
  } catch (const DataError&) {
    return false;
  }
}

}  // namespace

TEST_CASE("100,000 byte mutations of valid rows are read or refused, never worse", "[unit]") {
  const FakeTokenizer tokenizer;
  int read = 0;
  for (std::uint64_t i = 0; i < 100000; ++i) {
    const std::string bytes = mutated(kValid[i % kValid.size()], i);
    read += accepted([&] {
      const core::Json json = data::parse_row(bytes.substr(0, bytes.find('\n')), "row");
      data::Assembler assembler(tokenizer, {});
      const data::ChatLayout plain;
      data::RowReader reader("rows", data::Format::kAuto, plain);
      const data::Row row = reader.read({json.is_array() && !json.empty() ? json[0] : json, "row"});
      assembler.add_row(row.conversation ? data::conversation_spans(*row.conversation, {}, true) : row.spans, "row");
      return assembler.finish();
    });
  }
  CHECK(read > 5000);
  CHECK(read < 25000);
}

TEST_CASE("mutated files are read or refused, never worse", "[unit]") {
  TempDir dir;
  int read = 0;
  for (std::uint64_t i = 0; i < 300; ++i) {
    const std::filesystem::path file = dir / (i % 4 == 3 ? "m.json" : "m.jsonl");
    write_text(file, mutated(kValid[i % 4], 1'000'000 + i));
    read += accepted([&] { return load(file); });
  }
  CHECK(read > 0);
  CHECK(read < 250);
}
