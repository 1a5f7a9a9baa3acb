#include "lowrank/core/json.h"

#include <chrono>

#include "core/expect_error.h"
#include "lowrank/core/json_text.h"

using namespace lowrank::core;

namespace {

Json parse(std::string_view text) { return parse_json(text, "x.json"); }

}  // namespace

TEST_CASE("a document keeps its values and the order of its keys", "[unit]") {
  const Json json = parse(R"( {"z": [1, -2, 2.5, "é\u00e9", true, null], "a": {"b": {}}, "": []} )");
  CHECK(json.dump() == R"({"z":[1,-2,2.5,"éé",true,null],"a":{"b":{}},"":[]})");
  CHECK(parse("\xEF\xBB\xBF{}").dump() == "{}");
  CHECK(parse("3").dump() == "3");
  CHECK(parse(R"("a\u0000b")").get<std::string>() == std::string("a\0b", 3));
  CHECK(parse("18446744073709551615").get<std::uint64_t>() == UINT64_MAX);
}

TEST_CASE("what is written is JSON whatever its texts hold", "[unit]") {
  const std::string latin = "caf\xE9", half("\xE2\x82", 2), zero("a\0b", 3);
  const Json value = {{"a", latin}, {latin, {1.5, half, nullptr}}, {"z", zero}, {"n", 1e300 * 1e10}};
  for (const int indent : {-1, 2}) {
    for (const std::string& text : {json_text(value, indent), json_ascii(value, indent)}) {
      INFO(text);
      const Json read = parse(text);
      CHECK(read["a"] == "caf\uFFFD");
      CHECK(read["caf\uFFFD"][1] == "\uFFFD");
      CHECK(read["z"] == zero);
      CHECK(read["n"].is_null());
      CHECK((text.find('\n') != std::string::npos) == (indent == 2));
    }
  }
  CHECK(json_text(Json("é")) == "\"é\"");
  CHECK(json_ascii(Json("é")) == "\"\\u00e9\"");

  CHECK_NOTHROW(check_utf8({{"--out", "é"}, {"rank", 8}, {"data", {"a", "b"}}}));
  CHECK_ERROR(check_utf8({{"--out", latin}}), kConfig, "`out`: 'caf\\xe9' is not UTF-8");
  CHECK_ERROR(check_utf8({{"rank", 8}, {"data", {"a", half}}}), kConfig, "`data`: '");
  CHECK_ERROR(check_utf8({{"model", latin}}), kConfig, "model: 'caf");
}

TEST_CASE("what is not JSON is refused with its line and column", "[unit]") {
  CHECK_ERROR(parse(""), kFormat, "x.json: empty");
  CHECK_ERROR(parse(" \n"), kFormat, "x.json: empty");
  CHECK_ERROR(parse("{\"a\": 1,\n \"b\": tru }"), kFormat, "x.json: not valid JSON at line 2, column 7");
  CHECK_ERROR(parse("{\"é\": x}"), kFormat, "line 1, column 7");
  CHECK_ERROR(parse("{\"a\": 1,}"), kFormat, "line 1, column 9");
  CHECK_ERROR(parse("[1, 2"), kFormat, "line 1, column 6: syntax error while parsing array - unexpected end of input");
  CHECK_ERROR(parse("{\"a\": \"b}"), kFormat, "invalid string: missing closing quote");
  CHECK_ERROR(parse(std::string(100'000, ' ') + "x"), kFormat, "invalid literal, near 'x'");
  CHECK_ERROR(parse("{} {}"), kFormat, "line 1, column 4");
  CHECK_ERROR(parse("{}x"), kFormat, "line 1, column 3");
  CHECK_ERROR(parse("// no\n{}"), kFormat, "not valid JSON");
  CHECK_ERROR(parse(std::string_view("{}\0garbage", 10)), kFormat, "line 1, column 3: a NUL byte");
  CHECK_ERROR(parse("[NaN]"), kFormat, "line 1, column 2: NaN and Infinity are not JSON");
  CHECK_ERROR(parse("{\"a\": -Infinity}"), kFormat, "NaN and Infinity are not JSON");
  CHECK_ERROR(parse("[Infinity]"), kFormat, "NaN and Infinity are not JSON");
  CHECK_ERROR(parse("[1e999]"), kFormat, "a number too large for a double");
  CHECK_ERROR(parse("[\"\\ud800\"]"), kFormat, "not valid JSON");
  CHECK_ERROR(parse("[\"a\nb\"]"), kFormat, "not valid JSON");
  CHECK_ERROR(parse("{\"a\":\n\"\xFF\"}"), kFormat, "not valid UTF-8 at line 2, column 2 (byte 0xff)");
}

TEST_CASE("equal keys, deep nesting and oversize are refused", "[unit]") {
  CHECK_ERROR(parse(R"({"a": 1, "b": 2, "a": 3})"), kFormat, "x.json: the key 'a' is there twice");
  CHECK_ERROR(parse(R"({"o": [0, {"a": 1, "\u0061": 3}]})"), kFormat, "the key 'a' is there twice (in o[1])");
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']');
  };
  CHECK_NOTHROW(parse(nested(64)));
  CHECK_ERROR(parse(nested(65)), kFormat, "nested deeper than 64 levels");
  CHECK_ERROR(parse(nested(1'000'000)), kFormat, "nested deeper than 64 levels");
  std::string objects;
  for (int i = 0; i < 1000; ++i) objects += "{\"a\":";
  CHECK_ERROR(parse(objects), kFormat, "nested deeper than 64 levels (in a.a.");
  CHECK_ERROR(parse_json("[1,2,3]", "x", {.max_depth = 4, .max_bytes = 3}), kFormat, "more than the 3 B");
}

TEST_CASE("a vocabulary of keys is read in linear time", "[unit]") {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += (i == 0 ? "\"k" : ",\"k") + std::to_string(i) + "\":" + std::to_string(i);
  text += "}";
  const auto start = std::chrono::steady_clock::now();
  const Json json = parse(text);
  CHECK(json.size() == 300'000);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(30));  // n² would be an hour
}

TEST_CASE("values are read with their type, range and path", "[unit]") {
  const Json json = parse(R"({"s": "x", "i": 3, "neg": -1, "f": 1.5, "three": 3.0, "b": true, "n": null,
    "big": 9223372036854775808, "huge": 100000000000000000000, "list": ["a", "b"], "mixed": ["a", 1],
    "rope": {"factor": "8", "steps": [1, {"at": []}]}})");
  const JsonView view(json, "config.json");
  CHECK(view.at("s").as_string() == "x");
  CHECK(view.at("i").as_int() == 3);
  CHECK(view.at("i").as_double() == 3.0);
  CHECK(view.at("f").as_double() == 1.5);
  CHECK(view.at("huge").as_double() == 1e20);
  CHECK(view.at("b").as_bool());
  CHECK(view.at("list").as_strings() == std::vector<std::string>{"a", "b"});
  CHECK(view.at("rope").keys() == std::vector<std::string>{"factor", "steps"});
  CHECK(view.at("rope").at("steps").at(1).at("at").where() == "config.json: rope.steps[1].at");
  CHECK(view.has("n"));
  CHECK_FALSE(view.has_value("n"));
  CHECK_FALSE(view.at("s").has("x"));
  CHECK(view.size() == 12);

  CHECK_ERROR(view.at("s").as_int(), kFormat, "config.json: s: expected an integer, found the string 'x'");
  CHECK_ERROR(view.at("three").as_int(), kFormat, "config.json: three: expected an integer, found 3.0");
  CHECK_ERROR(view.at("b").as_int(), kFormat, "expected an integer, found true");
  CHECK_ERROR(view.at("b").as_double(), kFormat, "expected a number, found true");
  CHECK_ERROR(view.at("i").as_bool(), kFormat, "expected true or false, found 3");
  CHECK_ERROR(view.at("n").as_string(), kFormat, "expected a string, found null");
  CHECK_ERROR(view.at("neg").as_int(0), kFormat, "expected an integer of at least 0, found -1");
  CHECK_ERROR(view.at("i").as_int(4, 8), kFormat, "expected an integer from 4 to 8, found 3");
  CHECK_ERROR(view.at("big").as_int(), kFormat, "expected an integer of 64 bits, found 9223372036854775808");
  CHECK_ERROR(view.at("huge").as_int(), kFormat, "expected an integer of 64 bits, found 1e+20");
  CHECK_ERROR(view.at("huge").as_int(1, 10), kFormat, "expected an integer from 1 to 10, found 1e+20");
  CHECK_ERROR(view.at("mixed").as_strings(), kFormat, "config.json: mixed[1]: expected a string, found 1");
  CHECK_ERROR(view.at("list").at(2), kFormat, "config.json: list: has 2 elements, element 2 was expected");
  CHECK_ERROR(view.at("rope").at("factr"), kFormat,
              "config.json: rope: the key 'factr' is missing, did you mean 'factor'?");
  CHECK_ERROR(view.at("rope").at("steps").at("x"), kFormat, "expected an object, found an array of 2");
  CHECK_ERROR(view.at("s").size(), kFormat, "expected an array or an object");
  CHECK_ERROR(view.at("rope").at("factor").fail("is odd"), kFormat, "config.json: rope.factor: is odd");
}

TEST_CASE("a missing or null key gives the default, a wrong one an error", "[unit]") {
  const Json json = parse(R"({"n": null, "i": "1", "x": 2})");
  const JsonView view(json, "c");
  CHECK(view.get_int("n", 7) == 7);
  CHECK(view.get_int("none", 7, 0, 1) == 7);
  CHECK(view.get_int("x", 7) == 2);
  CHECK(view.get_string("n", "d") == "d");
  CHECK(view.get_bool("none", true));
  CHECK(view.get_double("x", 0.5) == 2.0);
  CHECK_ERROR(view.get_int("i", 7), kFormat, "c: i: expected an integer, found the string '1'");
  CHECK_ERROR(view.get_string("x", ""), kFormat, "c: x: expected a string, found 2");
}

TEST_CASE("a file is named in what is wrong with it", "[unit]") {
  const lowrank_test::TempDir dir;
  lowrank_test::write_text(dir / "bad.json", "{\n\"a\" 1}");
  CHECK_ERROR(read_json(dir / "bad.json"), kFormat, "bad.json: not valid JSON at line 2, column 5");
  CHECK_ERROR(read_json(dir / "none.json"), kMissing, "none.json");
  CHECK_ERROR(read_json(dir.path()), kFormat, "is a directory");
}
