// Plain text: cleaning, documents, pieces.
#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/core/files.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/text_documents.h"

using namespace lowrank;
using namespace std::string_literals;
using data::DataOptions;
using data::Dataset;
using lowrank_test::contains;
using lowrank_test::FakeOptions;
using lowrank_test::FakeTokenizer;
using lowrank_test::message_of;
using lowrank_test::TempDir;
using lowrank_test::write_text;

namespace {

DataOptions seq_len(int n) {
  DataOptions options;
  options.seq_len = n;
  return options;
}

std::vector<std::string> documents_of(const std::string& text) {
  std::vector<std::string> all;
  for (const data::TextPart& part : data::split_documents(text)) all.emplace_back(part.text);
  return all;
}

}  // namespace

TEST_CASE("documents that are read one by one are those of the whole file", "[unit]") {
  TempDir dir;
  std::string large;
  for (int i = 0; i < 60000; ++i) {
    large += "line " + std::to_string(i) + (i % 3 == 0 ? "\r\n" : "\n") + (i % 1000 == 999 ? "<|endoftext|>\n" : "");
  }
  for (const std::string& text : std::vector<std::string>{
           "", "a", "a\n", "<|endoftext|>", "a\n<|endoftext|>\n", "\n\n<|endoftext|>\n<|endoftext|>\nb", "a\rb\r\nc\xff\n\xef\xbb\xbf" "d",
           "\xef\xbb\xbf" "a\n<|endoftext|> \n<|endoftext|>\nb\n", large}) {
    write_text(dir / "a.txt", text);
    const data::CleanText whole = data::read_clean_text(dir / "a.txt");
    std::vector<std::pair<std::string, std::int64_t>> expected, found;
    for (const data::TextPart& part : data::split_documents(whole.text)) expected.emplace_back(part.text, part.line);
    bool only = false;
    const data::CleanText read =
        data::for_each_document(dir / "a.txt", [&](const std::string& document, std::int64_t line, bool alone, std::uint64_t) {
          found.emplace_back(document, line);
          only = alone;
        });
    CHECK(found == expected);
    CHECK(only == (expected.size() == 1));
    CHECK(read.had_bom == whole.had_bom);
    CHECK(read.had_cr == whole.had_cr);
    CHECK(read.replaced_bytes == whole.replaced_bytes);
    CHECK(read.note == whole.note);
  }
}

TEST_CASE("text is made clean: BOM, line ends, invalid bytes", "[unit]") {
  const data::CleanText clean = data::clean_text(
      "\xef\xbb\xbf"
      "a\r\nb\rc\n\r\r\nd\xff\xe2\x82 \xef\xbf\xbd e");
  CHECK(clean.text == "a\nb\nc\n\n\nd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd e");
  CHECK(clean.had_bom);
  CHECK(clean.had_cr);
  CHECK(clean.replaced_bytes == 3);  // ff, and e2 82 as one replacement; the U+FFFD that was there is no replacement
  const data::CleanText plain = data::clean_text("plain \xc3\xa9\n");
  CHECK(plain.text == "plain \xc3\xa9\n");
  CHECK_FALSE(plain.had_bom);
  CHECK_FALSE(plain.had_cr);
  CHECK(plain.replaced_bytes == 0);
}

TEST_CASE("documents are parted by the separator alone on a line, with one newline on each side", "[unit]") {
  using List = std::vector<std::string>;
  CHECK(documents_of("one\n<|endoftext|>\ntwo\n") == List{"one", "two\n"});
  CHECK(documents_of("one\n\n<|endoftext|>\n\n two") == List{"one\n", "\n two"});
  CHECK(documents_of("<|endoftext|>\none\n<|endoftext|>") == List{"", "one", ""});
  CHECK(documents_of("one\n<|endoftext|>\n<|endoftext|>\ntwo") == List{"one", "", "two"});
  CHECK(documents_of("a <|endoftext|> b\n <|endoftext|>\n<|endoftext|>x") ==
        List{"a <|endoftext|> b\n <|endoftext|>\n<|endoftext|>x"});
  CHECK(documents_of("") == List{""});
  CHECK(data::split_documents("a\nb\n<|endoftext|>\nc")[1].line == 4);
}

TEST_CASE("text becomes BOS, text, EOS, in pieces from the start", "[unit]") {
  TempDir dir;
  write_text(dir / "a.txt", "abcdefghij");
  const FakeTokenizer tokenizer;
  const Dataset all = data::load({dir / "a.txt"}, tokenizer, seq_len(5));
  REQUIRE(all.examples.size() == 3);
  CHECK(all.examples[0].ids == std::vector<data::TokenId>{1, 'a' + 3, 'b' + 3, 'c' + 3, 'd' + 3});
  CHECK(all.examples[2].ids == std::vector<data::TokenId>{'j' + 3, 2});
  CHECK(all.examples[0].counted() == 4);
  CHECK(all.report.format == "text");
  CHECK(all.report.files == 1);
  CHECK(all.report.documents == 1);
  CHECK(all.report.examples == 3);
  CHECK(all.report.tokens == 12);
  CHECK(all.report.learned_tokens == 9);
  CHECK(all.report.truncated == 0);
  CHECK(all.report.notes.empty());
  CHECK(all.report.sha256 == core::sha256("abcdefghij"));
  CHECK(all.documents.at(0).where == (dir / "a.txt").string());

  // 12 tokens in pieces of 11: the last piece is a single token, which nothing predicts.
  const Dataset tail = data::load({dir / "a.txt"}, tokenizer, seq_len(11));
  REQUIRE(tail.examples.size() == 1);
  CHECK(tail.report.tokens == 11);
  REQUIRE(tail.report.notes.size() == 1);
  CHECK(contains(tail.report.notes[0], "single token"));
}

TEST_CASE("tokens at the ends come once, however the tokenizer gives them", "[unit]") {
  const auto ids = [](const std::string& text, const FakeOptions& options) {
    return data::from_texts({text}, FakeTokenizer(options), seq_len(100)).examples.at(0).ids;
  };
  using Ids = std::vector<data::TokenId>;
  const FakeOptions plain;
  CHECK(ids("ab", plain) == Ids{1, 'a' + 3, 'b' + 3, 2});
  CHECK(ids("<s>ab</s>", plain) == Ids{1, 'a' + 3, 'b' + 3, 2});
  FakeOptions adds_eos;
  adds_eos.adds_eos = true;
  CHECK(ids("ab", adds_eos) == Ids{1, 'a' + 3, 'b' + 3, 2});
  FakeOptions no_bos;
  no_bos.adds_bos = false;
  CHECK(ids("ab", no_bos) == Ids{'a' + 3, 'b' + 3, 2});
  FakeOptions no_eos;
  no_eos.eos = false;
  CHECK(ids("ab", no_eos) == Ids{1, 'a' + 3, 'b' + 3});
  CHECK(contains(data::from_texts({"ab"}, FakeTokenizer(no_eos), seq_len(9)).report.notes.at(0), "no end token"));
}

TEST_CASE("blank documents are dropped and counted, doubles counted and kept", "[unit]") {
  TempDir dir;
  write_text(dir / "a.txt", "one\n<|endoftext|>\n \t\n<|endoftext|>\none\n<|endoftext|>\n\n<|endoftext|>\ntwo");
  const Dataset all = data::load({dir / "a.txt"}, FakeTokenizer(), seq_len(50));
  CHECK(all.report.documents == 3);
  CHECK(all.report.empty == 2);
  CHECK(all.report.duplicates == 1);
  CHECK(all.documents.at(2).where == (dir / "a.txt").string() + " line 9");
  CHECK(all.examples.at(2).document == 2);
}

TEST_CASE("a folder is read recursively in sorted order, what is not text passed over", "[unit]") {
  TempDir dir;
  write_text(dir / "b.md",
             "\xef\xbb\xbf"
             "bee");
  write_text(dir / "a.txt", "ay\r\n");
  write_text(dir.path() / "deep" / "c.jsonl", "{\"text\": \"sea\"}\r\n\r\n{\"text\": \"\"}\n");
  write_text(dir / "image.png", "no");
  write_text(dir / "table.csv", "no");
  write_text(dir / ".hidden.txt", "no");
  write_text(dir.path() / ".git" / "x.txt", "no");
  const Dataset all = data::load({dir.path()}, FakeTokenizer(), seq_len(50));
  REQUIRE(all.documents.size() == 3);
  CHECK(all.documents[0].where == (dir / "a.txt").string());
  CHECK(all.documents[1].where == (dir / "b.md").string());
  CHECK(all.documents[2].where == (dir.path() / "deep" / "c.jsonl").string() + " line 1");
  CHECK(all.report.files == 3);
  CHECK(all.report.bom_files == 1);
  CHECK(all.report.crlf_files == 2);
  CHECK(all.report.empty == 1);
  CHECK(all.report.format == "text");
  REQUIRE(all.report.notes.size() == 1);
  CHECK(contains(all.report.notes[0], "2 other files"));
  CHECK(contains(all.report.notes[0], ".csv, .png"));
  CHECK(all.report.sha256.size() == 64);
  CHECK(data::load({dir.path()}, FakeTokenizer(), seq_len(9)).report.sha256 == all.report.sha256);
  write_text(dir / "a.txt", "changed");
  CHECK(data::load({dir.path()}, FakeTokenizer(), seq_len(50)).report.sha256 != all.report.sha256);

  write_text(dir / "train.jsonl", "{\"text\": \"x\"}");
  write_text(dir / "test.jsonl", "{\"text\": \"y\"}");
  CHECK(contains(data::load({dir.path()}, FakeTokenizer(), seq_len(50)).report.notes.at(1), "test.jsonl"));
}

TEST_CASE("what is not there or cannot be text is refused with its name", "[unit]") {
  TempDir dir;
  const FakeTokenizer tokenizer;
  const auto load = [&](const std::string& name, data::Format format = data::Format::kAuto) {
    DataOptions options = seq_len(50);
    options.format = format;
    data::load({dir / name}, tokenizer, options);
  };
  write_text(dir / "corpus.txt", "text");
  CHECK(contains(message_of<MissingError>([&] { load("corpus.tx"); }), "did you mean 'corpus.txt'"));
  CHECK(contains(message_of<ConfigError>([&] { load("corpus.txt", data::Format::kAlpaca); }), "plain text"));
  CHECK(contains(message_of<ConfigError>([&] { data::load({}, tokenizer, seq_len(5)); }), "`data`"));
  CHECK(
      contains(message_of<ConfigError>([&] { data::load({dir / "corpus.txt"}, tokenizer, seq_len(1)); }), "`seq-len`"));
  write_text(dir / "blank.txt", " \n");
  CHECK(contains(message_of<DataError>([&] { load("blank.txt"); }), "blank"));
  write_text(dir / "empty.txt", "");
  CHECK(contains(message_of<DataError>([&] { load("empty.txt"); }), "blank"));
  write_text(dir / "book.gz.txt", "\x1f\x8b\x08");
  CHECK(contains(message_of<DataError>([&] { load("book.gz.txt"); }), "gzip"));
  write_text(dir / "wide.txt",
             "\xff\xfe"
             "a\0b\0"s);
  CHECK_NOTHROW(load("wide.txt"));
  write_text(dir / "table.xyz", "a,b");
  CHECK(contains(message_of<DataError>([&] { load("table.xyz"); }), "`format` text"));
  CHECK_NOTHROW(load("table.xyz", data::Format::kText));
  std::filesystem::create_directory(dir / "none");
  CHECK(contains(message_of<DataError>([&] { load("none"); }), "no .txt, .md, .jsonl, .json, .csv, .tsv, .parquet or .arrow file under"));
  CHECK(contains(message_of<ConfigError>([] { data::parse_format("alpacca"); }), "did you mean 'alpaca'"));
  for (const char* name : {"auto", "text", "completion", "alpaca", "messages", "sharegpt"}) {
    CHECK(data::format_name(data::parse_format(name)) == name);
  }
}

TEST_CASE("texts in memory are documents", "[unit]") {
  const Dataset all = data::from_texts({"one", "", "two"}, FakeTokenizer(), seq_len(10));
  CHECK(all.report.documents == 2);
  CHECK(all.report.empty == 1);
  CHECK(all.documents.at(1).where == "text 2");
  CHECK(contains(message_of<DataError>([] { data::from_texts({}, FakeTokenizer(), seq_len(10)); }), "no documents"));
}
