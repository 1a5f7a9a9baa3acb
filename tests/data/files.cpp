// What a file is, its content says: layouts of JSON, encodings, compression, faults in what nobody reads.
#include <zlib.h>
#include <zstd.h>

#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/core/json.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/line_reader.h"
#include "lowrank/data/row_file.h"
#include "lowrank/formats/byte_stream.h"

using namespace lowrank;
using namespace lowrank_test;
using namespace std::string_literals;
using data::Dataset;

namespace {

Dataset load(const fs::path& path) { return data::load({path}, FakeTokenizer(), {}); }
Dataset load(const std::string& name, const std::string& content) {
  TempDir dir;
  write_text(dir / name, content);
  return load(dir / name);
}
std::string text(const Dataset& all, std::size_t i) { return FakeTokenizer().decode(all.examples.at(i).ids, true); }
std::string refusal(const std::string& name, const std::string& content) {
  return message_of<DataError>([&] { load(name, content); });
}
std::string notes(const Dataset& all) {
  std::string joined;
  for (const std::string& note : all.report.notes) joined += note + "\n";
  return joined;
}

std::string gzip(const std::string& bytes) {
  z_stream z{};
  REQUIRE(deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&z, bytes.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string zstd(const std::string& bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  const std::size_t n = ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3);
  REQUIRE_FALSE(ZSTD_isError(n));
  out.resize(n);
  return out;
}

const std::string kPet = R"({"instruction": "Name a pet.", "input": "", "output": "A cat."})";
const std::string kFruit = R"({"instruction": "Name a fruit.", "input": "", "output": "A pear."})";

}  // namespace

TEST_CASE("rows are found however JSON lays them out, under every name", "[unit]") {
  const std::string pretty = "{\n  \"instruction\": \"Name a pet.\",\n  \"input\": \"\",\n  \"output\": \"A cat.\"\n}";
  for (const char* name : {"rows.jsonl", "rows.json", "rows.ndjson", "rows.txt", "rows", "rows.data"}) {
    for (const std::string& content : {
             kPet + "\n" + kFruit + "\n",                                     // lines
             "[" + kPet + ", " + kFruit + "]",                                // an array on one line
             "[\n  " + pretty + ",\n\n  " + kFruit + "\n]\n",                 // and over several
             pretty + "\n" + kFruit + "\n",                                   // values one after the other
             kPet + kFruit,                                                   // not parted at all
             kPet + " " + kFruit + "\n",
             kPet + "\r" + kFruit + "\r",                                     // lines of an old Mac
             kPet + ",\n" + kFruit + ",\n",                                   // an array that lost its brackets
             "{\"data\": [" + kPet + "," + kFruit + "]}",                     // wrapped
             "{\"version\": \"1\",\n \"data\": [\n" + kPet + ",\n" + kFruit + "], \"more\": {\"a\": [1]}}\n"}) {
      CAPTURE(name, content);
      const Dataset all = load(name, content);
      REQUIRE(all.examples.size() == 2);
      CHECK(all.report.format == "Alpaca");
      CHECK(contains(text(all, 0), "Name a pet."));
      CHECK(text(all, 1).ends_with("### Response:\nA pear."));
    }
  }
  const Dataset wrapped = load("w.json", "{\"version\": \"1\", \"data\": [" + kPet + "], \"more\": 2}");
  CHECK(contains(notes(wrapped), "rows are read from its key \"data\"; not read: version, more"));
  CHECK(contains(wrapped.documents.at(0).where, "w.json row 1"));
  CHECK(contains(load("p.jsonl", pretty + "\n" + pretty).documents.at(1).where, "p.jsonl line 6"));
  CHECK(contains(notes(load("rows.txt", kPet)), "rows.txt holds rows of JSON"));
}

TEST_CASE("text that begins with a bracket is text; a row with a list under \"data\" is a row", "[unit]") {
  for (const char* content : {"[1] Smith, J.: On boats.", "{Stage left.} Enter a cat.", "[see {\"a\"} below]",
                              "[[wiki link]] is", "{\"no colon\"}"}) {
    CAPTURE(content);
    CHECK(load("book.txt", content).report.format == "text");
  }
  const Dataset row = load("r.json", R"({"prompt": "a", "completion": "b", "data": [{"x": 1}]})");
  CHECK(row.report.format == "prompt/completion");
  // As it stands, where that is asked for.
  TempDir dir;
  write_text(dir / "rows.txt", kPet);
  data::DataOptions plain;
  plain.format = data::Format::kText;
  CHECK(text(data::load({dir / "rows.txt"}, FakeTokenizer(), plain), 0) == kPet);
}

TEST_CASE("rows that are cut off, or have something else between them, are refused with their line", "[unit]") {
  const std::string two = "[\n" + kPet + ",\n" + kFruit;
  CHECK(contains(refusal("r.json", two), "at line 3: the file ends inside of row 2 or after it"));
  CHECK(contains(refusal("r.json", two + ",\n]"), "at line 4: a comma is followed by no row"));
  CHECK(contains(refusal("r.json", two + "\n" + kPet + "]"), "at line 4: expected ',' or ']' after row 2"));
  CHECK(contains(refusal("r.json", two + "]\n" + kPet), "at line 4: more follows after the array"));
  CHECK(contains(refusal("r.json", "{\n\"data\": [\n" + kPet + "]"), "was cut off"));
  CHECK(contains(refusal("r.json", "{\n\"data\": [\n" + kPet + "] x}"), "expected '}'"));
  CHECK(contains(refusal("r.json", "{\n\"instruction\": \"a\""), "the file ends inside of row 1"));
  CHECK(contains(refusal("r.json", "[" + kPet + ", {\"instruction\": \"a\" \"output\": \"b\"}]"), "row 2: not valid JSON"));
}

TEST_CASE("NaN, half a surrogate pair, NUL and bytes that are no UTF-8 are no error where nobody reads them", "[unit]") {
  const std::string good = "{\"prompt\": \"a\", \"completion\": \"b\"}\n";
  for (const std::string& fault :
       {"NaN"s, "Infinity"s, "-Infinity"s, "1e999"s, "\"nice \\ud83d\""s, "\"\\udc00x\""s, "\"\\u0000\""s, "\"\xff\""s,
        "\"a\0b\""s, "[{\"deep\": [NaN, \"\\ud83d\"]}]"s,
        "[{\"x\": 1, \"x\": 2}]"s, std::string(300, '[') + std::string(300, ']')}) {
    CAPTURE(fault);
    const Dataset all = load("r.jsonl", good + "{\"prompt\": \"c\", \"raw\": " + fault + ", \"completion\": \"d\"}\n");
    CHECK(text(all, 1) == "cd");
    CHECK(contains(notes(all), "not read: raw"));
    if (fault.front() == '[') continue;
    const std::string message = refusal("r.jsonl", good + "{\"prompt\": \"c\", \"completion\": " + fault + "}\n");
    CHECK(contains(message, "r.jsonl line 2: completion: expected a string, found "));
  }
  CHECK(contains(refusal("r.jsonl", "{\"text\": \"The cat was happy \\ud83d\"}\n"),
                 "line 1: text: expected a string, found half of a surrogate pair (\\ud83d), which is no character"));
  CHECK(contains(refusal("r.jsonl", "{\"text\": NaN}\n"), "found nan"));
  CHECK(text(load("r.jsonl", "{\"id\": 1, \"text\": \"a\", \"id\": 2}\n"), 0) == "a");
  CHECK(contains(refusal("r.jsonl", "{\"text\": \"a\", \"text\": \"b\"}\n"), "text: expected a string, found two values under one key"));
  CHECK(contains(refusal("r.jsonl", "{\"question\": \"a\", \"answer\": 42}\n"), "found 42; a `layout` with {answer} writes numbers as text"));
  CHECK(contains(refusal("r.json", "{\"question\": [\"a\"], \"answer\": [\"b\"]}\n"), "orient=\"records\""));
  for (const char* name : {"r.jsonl", "r.txt", "r.csv", "r.json"}) {
    CHECK(contains(refusal(name, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"), "is a Git LFS pointer"));
  }
  CHECK(text(load("r.jsonl", "{\"\\ud83d\": 1, \"text\": \"NaN \\ud83d\\ude00\"}\n"), 0) == "NaN \xf0\x9f\x98\x80");
  // Other faults stay faults of the row.
  CHECK(contains(refusal("r.jsonl", "{\"text\": \"a\", \"x\": nan}\n"), "not valid JSON"));
  CHECK(contains(refusal("r.jsonl", "{\"text\": \"a\", \"x\": NaN,}\n"), "not valid JSON"));
  bool changed = false;
  CHECK(data::without_faults(data::parse_row(R"({"a": NaN, "b": ["\ud800", 1]})", "r"), changed) ==
        core::parse_json(R"({"a": null, "b": [null, 1]})", "r"));
  CHECK(changed);
}

TEST_CASE("UTF-16 and UTF-32 are read, and said", "[unit]") {
  const std::u16string row = u"{\"text\": \"caf\u00e9 \U0001F600\"}\r\n{\"text\": \"b\"}";
  for (const bool big : {false, true}) {
    for (const bool marked : {false, true}) {
      std::string bytes = marked ? (big ? "\xfe\xff"s : "\xff\xfe"s) : ""s;
      for (const char16_t unit : row) {
        const char high = static_cast<char>(unit >> 8), low = static_cast<char>(unit & 0xff);
        bytes += big ? std::string{high, low} : std::string{low, high};
      }
      CAPTURE(big, marked);
      const Dataset all = load("r.jsonl", bytes);
      CHECK(text(all, 0) == "caf\xc3\xa9 \xf0\x9f\x98\x80");
      CHECK(text(all, 1) == "b");
      CHECK(all.report.bom_files == (marked ? 1 : 0));
      CHECK(all.report.crlf_files == 1);
      CHECK(contains(notes(all), "r.jsonl is UTF-16, and was read as such"));
      CHECK(contains(notes(load("r.txt", bytes)), "r.txt is UTF-16, and was read as such"));
    }
  }
  const std::string wide = "\xff\xfe\0\0a\0\0\0\x00\xf6\x01\0"s;
  CHECK(text(load("w.txt", wide), 0) == "a\xf0\x9f\x98\x80");
}

TEST_CASE("Windows-1252 is recognised and converted; other legacy encodings are refused, and nothing is mangled",
          "[unit]") {
  const std::string french = "L\x92\xe9t\xe9 \xe0 la plage : d\xe9j\xe0 vu, \xab tr\xe8s bien \xbb \x96 \x80 5.\n";
  const Dataset converted = load("f.txt", std::string(70000, 'a') + french);
  CHECK(text(converted, converted.examples.size() - 1)
            .ends_with("L\u2019\u00e9t\u00e9 \u00e0 la plage : d\u00e9j\u00e0 vu, \u00ab tr\u00e8s bien \u00bb \u2013 "
                       "\u20ac 5.\n"));
  CHECK(contains(notes(converted), "f.txt is Windows-1252, and was read as such"));
  for (const std::string& good : {"\x93Smart\x94 quotes don\x92t \x85"s, "Stra\xdf"s + "e f\xfcr M\xe4nner"s,
                                  "ma\xf1"s + "ana \xbfqu\xe9?"s, "r\xf8"s + "dgr\xf8"s + "d med fl\xf8"s + "de"s,
                                  "caf\xe9"s}) {
    CAPTURE(good);
    CHECK(contains(notes(load("g.jsonl", "{\"text\": \"" + good + "\"}\n")), "Windows-1252"));
  }
  struct Other {
    const char* name;
    std::string bytes;
  };
  const std::vector<Other> others = {
      {"Czech, Windows-1250", "p\xf8\xed\xb9tel \xf8\xedk\xe1 \xf8\x65\xe8, d\xec\x6buji, m\xec\x73to, \xe8\x65sk\xfd, v\xec\x74\x61"},
      {"Hungarian, Windows-1250", "\xf5rz\xf5 t\xfbz \xf6r\xf6k gy\xfbr\xfb \xfc\x74\xf5 \xe1rv\xedzt\xfbr\xf5 t\xfck\xf6rf\xfar\xf3"},
      {"Polish, ISO-8859-2", "za\xbf\xf3\xb3\xe6 g\xea\xb6l\xb1 ja\xbc\xf1, \xb6wiat\xb3o, mi\xb3o\xb6\xe6, \xbfycie"},
      {"Russian, Windows-1251", "\xcf\xf0\xe8\xe2\xe5\xf2, \xec\xe8\xf0! \xca\xe0\xea \xe4\xe5\xeb\xe0?"},
      {"Greek, ISO-8859-7", "\xca\xe1\xeb\xe7\xec\xdd\xf1\xe1 \xea\xfc\xf3\xec\xe5"},
      {"Turkish, Windows-1254", "\xfe\xf6yle g\xfcn\xfd\xfd \xe7ok iyi de\xf0il, ya\xf0mur ya\xf0\xfdyor, s\xfd\x63\x61k de\xf0il, k\xfdz\xfd"},
      {"Japanese, Shift-JIS", "\x93\xfa\x96{\x8c\xea\x82\xcc\x95\xb6\x8f\xcd\x82\xc5\x82\xb7\x81\x42"},
      {"Chinese, GBK", "\xd6\xd0\xce\xc4\xce\xc4\xb1\xbe\xb2\xe2\xca\xd4\xca\xfd\xbe\xdd"},
      {"French, Mac Roman", "\x8e\x74\x8e d\x8ej\x88 tr\x8fs \x8eteint, \x8e\x74\x8e, caf\x8e \x8e\x74\x8e"}};
  for (const Other& other : others) {
    CAPTURE(other.name);
    const std::string message = refusal("o.txt", other.bytes + "\n" + other.bytes);
    CHECK(contains(message, "is neither UTF-8 nor Windows-1252"));
    CHECK(contains(message, "iconv"));
    CHECK(contains(refusal("o.jsonl", "{\"text\": \"" + other.bytes + other.bytes + "\"}\n"), "neither UTF-8"));
  }
  // UTF-8 with a broken byte stays UTF-8: replaced and counted in text, an error of the row that is read.
  CHECK(load("b.txt", "caf\xc3\xa9 \xff").report.replaced_bytes == 1);
  CHECK(load("b.txt", "plain \xff text").report.replaced_bytes == 1);
  // What speaks against the encoding only far behind the beginning is an error too, not a mixture.
  CHECK(contains(refusal("late.txt", "caf\xe9 " + std::string(400000, 'a') + others[2].bytes), "neither UTF-8"));
}

TEST_CASE("gzip and zstd are read by content, in several members, and whatever they are called", "[unit]") {
  std::string rows;
  for (int i = 0; i < 5000; ++i) rows += "{\"text\": \"row " + std::to_string(i) + "\"}\n";
  const std::size_t half = rows.find('\n', rows.size() / 2) + 1;
  for (const std::string& bytes :
       {gzip(rows), zstd(rows), gzip(rows.substr(0, half)) + gzip(rows.substr(half)) + std::string(512, '\0'),
        zstd(rows.substr(0, half)) + zstd(rows.substr(half))}) {
    for (const char* name : {"r.jsonl.gz", "r.jsonl.zst", "r.jsonl", "r.gz", "r"}) {
      const Dataset all = load(name, bytes);
      REQUIRE(all.examples.size() == 5000);
      CHECK(text(all, 4999) == "row 4999");
    }
    for (std::size_t cut : {bytes.size() / 2, bytes.size() - 513, std::size_t{20}}) {
      const std::string message = refusal("c.jsonl", bytes.substr(0, cut));
      INFO(message);
      CHECK(contains(message, "ends too early"));
    }
  }
  TempDir dir;
  write_text(dir / "deep" / "a.txt.gz", gzip("ay"));
  write_text(dir / "b.jsonl.zst", zstd("{\"text\": \"bee\"}"));
  CHECK(text(load(dir.path()), 0) == "bee");
  std::string damaged = gzip(rows);
  damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 0x55);  // of the checksum
  CHECK(contains(refusal("d.jsonl.gz", damaged), "gzip data is damaged"));
  CHECK(contains(refusal("t.jsonl.gz", gzip(rows) + "more"), "other bytes follow the gzip data"));
  CHECK(contains(refusal("e.jsonl.zst", zstd(rows).substr(0, 300)), "zstd data ends too early"));
}

TEST_CASE("a compressed file that grows as no text does is refused within its budget", "[unit]") {
  TempDir dir;
  const std::string zeros(50'000'000, ' ');
  write_text(dir / "bomb.gz", gzip(zeros));
  write_text(dir / "bomb.zst", zstd(zeros));
  for (const char* name : {"bomb.gz", "bomb.zst"}) {
    const auto stream = formats::open_bytes(dir / name, name, {1'000'000, 100});
    std::string into(1 << 16, '\0');
    std::uint64_t got = 0;
    const std::string message = message_of<DataError>([&] {
      for (std::size_t n = 1; n > 0; got += n) n = stream->read(into);
    });
    CHECK(contains(message, "grew to more than"));
    CHECK(got < 8'000'000);
    const auto allowed = formats::open_bytes(dir / name, name);
    got = 0;
    for (std::size_t n = 1; n > 0; got += n) n = allowed->read(into);
    CHECK(got == zeros.size());
    CHECK(allowed->position() == fs::file_size(dir / name));
  }
}

TEST_CASE("files of other kinds are named", "[unit]") {
  CHECK(contains(refusal("a.txt", "%PDF-1.7"), "a PDF document"));
  CHECK(contains(refusal("a.docx", "PK\x03\x04\x14\0\0\0"s), "a zip archive"));
  CHECK(contains(refusal("a.jsonl", "SQLite format 3\0"s), "an SQLite database"));
  CHECK(contains(refusal("a.arrow", "ARROW1\0\0"s), "Arrow file"));  // damaged, or not read by this build
  CHECK(contains(refusal("a.jsonl.xz", "\xfd"
                                       "7zXZ\0"s),
                 "xz-compressed"));
}
