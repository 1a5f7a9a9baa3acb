#include "lowrank/core/text.h"

#include "catch.h"
#include "lowrank/core/json.h"
#include "lowrank/core/table.h"
#include "lowrank/core/visible.h"

using namespace lowrank::core;

TEST_CASE("nearest finds likely typos and nothing far off", "[unit]") {
  const std::vector<std::string> options = {"batch-size", "batch-tokens", "lr", "rank", "seq-len"};
  CHECK(nearest("batchsize", options) == "batch-size");
  CHECK(nearest("Batch_Size", options) == "batch-size");
  CHECK(nearest("rnak", options) == "rank");
  CHECK(nearest("seqlen", options) == "seq-len");
  CHECK_FALSE(nearest("verbose", options));
  CHECK_FALSE(nearest("", options));
  CHECK_FALSE(nearest(std::string(1'000'000, 'a'), options));
  CHECK(did_you_mean("rnak", options) == ", did you mean 'rank'?");
  CHECK(did_you_mean("verbose", options).empty());
}

TEST_CASE("invalid UTF-8 is found where it is", "[unit]") {
  const auto npos = std::string_view::npos;
  CHECK(find_invalid_utf8("") == npos);
  CHECK(find_invalid_utf8("naïve 漢字 😀\xF4\x8F\xBF\xBF") == npos);
  CHECK(find_invalid_utf8("ab\xFF") == 2);
  CHECK(find_invalid_utf8("\x80") == 0);
  CHECK(find_invalid_utf8("a\xC0\xAF") == 1);          // overlong
  CHECK(find_invalid_utf8("a\xE0\x80\x80") == 1);      // overlong
  CHECK(find_invalid_utf8("a\xED\xA0\x80") == 1);      // a surrogate
  CHECK(find_invalid_utf8("a\xF4\x90\x80\x80") == 1);  // above U+10FFFF
  CHECK(find_invalid_utf8("a\xE6\xBC") == 1);          // cut off
}

TEST_CASE("invalid UTF-8 is replaced as Python's errors='replace' does", "[unit]") {
  // Expected values: bytes.decode('utf-8', errors='replace') of Python 3.11.
  const std::string r = "\xEF\xBF\xBD";
  CHECK(replace_invalid_utf8("aé漢😀") == "aé漢😀");
  CHECK(replace_invalid_utf8("a\xFF\xFE"
                             "b") == "a" + r + r + "b");
  CHECK(replace_invalid_utf8("\xE6\xBC") == r);
  CHECK(replace_invalid_utf8("\xE6\xBCx") == r + "x");
  CHECK(replace_invalid_utf8("\xF0\x9F\x98") == r);
  CHECK(replace_invalid_utf8("\xC0\xAF") == r + r);
  CHECK(replace_invalid_utf8("\xE0\x80\x80") == r + r + r);
  CHECK(replace_invalid_utf8("\xED\xA0\x80") == r + r + r);
  CHECK(replace_invalid_utf8("\xF4\x90\x80\x80") == r + r + r + r);
  CHECK(replace_invalid_utf8("\xF0\x9F\xE6\xBC\xA2") == r + "漢");
}

TEST_CASE("a prefix never ends inside a character", "[unit]") {
  const std::string text = "a😀";
  CHECK(complete_utf8_prefix("") == 0);
  CHECK(complete_utf8_prefix(text) == 5);
  for (std::size_t n = 1; n < 5; ++n) CHECK(complete_utf8_prefix(text.substr(0, n)) == 1);
  CHECK(complete_utf8_prefix("漢") == 3);
  CHECK(complete_utf8_prefix("x\xE6\xBC") == 1);
  CHECK(complete_utf8_prefix("x\xFF") == 2);      // will never be complete: it stays
  CHECK(complete_utf8_prefix("x\xED\xA0") == 3);  // neither will this
  CHECK(complete_utf8_prefix("\x80\x80\x80\x80") == 4);
}

TEST_CASE("printable text keeps a terminal safe", "[unit]") {
  CHECK(printable("plain é 漢") == "plain é 漢");
  CHECK(printable("a\nb\tc\rd") == "a\\nb\\tc\\rd");
  CHECK(printable(std::string_view("\x1b[2J\0", 5)) == "\\x1b[2J\\x00");
  CHECK(printable("\xFFz") == "\\xffz");
  CHECK(printable("a\xC2\x9B") == "a\\xc2\\x9b");           // CSI of C1
  CHECK(printable("a\xE2\x80\xAE") == "a\\xe2\\x80\\xae");  // right-to-left override
  CHECK(printable("漢字漢字", 2) == "漢字…");
  CHECK(printable("ab", 2) == "ab");
}

TEST_CASE("text is made safe to show, and stays so", "[unit]") {
  const std::string evil = "a\x1b[2J\r\n\tb\xE2\x80\xAE\xE2\x80\x8B\xC2\x9B\xF3\xA0\x81\x81\xEF\xBB\xBF\xC2\xAD\xFF";
  const std::string line =
      "a\\x1b[2J\\r\\n\\tb\\xe2\\x80\\xae\\xe2\\x80\\x8b\\xc2\\x9b\\xf3\\xa0\\x81\\x81\\xef\\xbb\\xbf\\xc2\\xad\\xff";
  CHECK(visible_line(evil) == line);
  CHECK(visible_line(line) == line);
  CHECK(visible_lines("a\n\tb\r") == "a\n\tb\\r");
  const std::string family = "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7 \xD9\x86\xE2\x80\x8C\xD9\x85 \xE6\xBC\xA2";
  CHECK(visible_prose(family) == family);
  CHECK(visible_lines(family) != family);
  CHECK(visible_prose("\xE2\x80\xAE\x1b") == "\\xe2\\x80\\xae\\x1b");
  // All of what hides or controls is found, and nothing beside it.
  CHECK(visible_line("~\x7F\xC2\x80\xC2\x9F\xC2\xA0") == "~\\x7f\\xc2\\x80\\xc2\\x9f\xC2\xA0");
  CHECK(visible_line("\xE2\x80\xA7\xE2\x80\xA8\xE2\x80\xAE\xE2\x80\xAF") ==
        "\xE2\x80\xA7\\xe2\\x80\\xa8\\xe2\\x80\\xae\xE2\x80\xAF");
}

TEST_CASE("JSON is made safe to show without another value", "[unit]") {
  const std::string evil = "a\x1b\n\xE2\x80\xAE\xC2\x9B\xF3\xA0\x81\x81\x7F\"\\ \xE6\xBC\xA2";
  const Json value = {{"k\xE2\x80\x8B", evil}};
  const std::string text = visible_json(value.dump(2));
  CHECK(text == "{\n  \"k\\u200b\": \"a\\u001b\\n\\u202e\\u009b\\udb40\\udc41\\u007f\\\"\\\\ \xE6\xBC\xA2\"\n}");
  CHECK(parse_json(text, "text") == value);
  CHECK(visible_yaml(value.dump()) == "{\"k\\u200b\":\"a\\u001b\\n\\u202e\\u009b\\U000e0041\\u007f\\\"\\\\ \xE6\xBC\xA2\"}");
}

TEST_CASE("cells of tables and fields are one line each", "[unit]") {
  CHECK(table({"a\nb"}, {{"\x1b[2J"}}) == "a\\nb\n───────\n\\x1b[2J\n");
  CHECK(fields({{"k", "v\nforged: yes"}}) == "k  v\\nforged: yes\n");
}

TEST_CASE("numbers are written for people", "[unit]") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(999) == "999 B");
  CHECK(format_bytes(1000) == "1.0 kB");
  CHECK(format_bytes(3'120'000) == "3.1 MB");
  CHECK(format_bytes(999'999) == "1.0 MB");
  CHECK(format_bytes(UINT64_MAX) == "18.4 EB");
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1'234'567) == "1,234,567");
  CHECK(format_count(-123'456) == "-123,456");
  CHECK(format_count(INT64_MIN) == "-9,223,372,036,854,775,808");
  CHECK(format_seconds(0.04) == "0.0 s");
  CHECK(format_seconds(3.21) == "3.2 s");
  CHECK(format_seconds(9.99) == "10 s");
  CHECK(format_seconds(12.3) == "12 s");
  CHECK(format_seconds(59.7) == "1:00");
  CHECK(format_seconds(245) == "4:05");
  CHECK(format_seconds(3723) == "1:02:03");
  CHECK(format_seconds(-1) == "?");
}
