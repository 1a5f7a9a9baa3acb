#include <chrono>

#include "core/expect_error.h"
#include "formats/raw_safetensors.h"

using namespace lowrank::formats;
using lowrank_test::length_prefix;
using lowrank_test::parse_raw;
using lowrank_test::raw_safetensors;

namespace {

// One U8 tensor "a" whose description is given whole.
std::string one(const std::string& description, std::size_t data_bytes = 4) {
  return raw_safetensors("{\"a\":" + description + "}", data_bytes);
}

const std::string kGood = R"({"dtype":"U8","shape":[4],"data_offsets":[0,4]})";

}  // namespace

TEST_CASE("a header's tensors and metadata are read", "[unit]") {
  const auto header = parse_raw(raw_safetensors(
      R"({"__metadata__":{"format":"pt","k":"é"},"b":{"shape":[2,3],"data_offsets":[4,16],"dtype":"BF16"},)"
      R"("scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})",
      16));
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[0].name == "scalar");
  CHECK(header.tensors[0].shape.empty());
  CHECK(header.tensors[1].dtype == DType::kBF16);
  CHECK(header.tensors[1].shape == std::vector<std::int64_t>{2, 3});
  CHECK(header.tensors[1].begin == 4);
  CHECK(header.tensors[1].end == 16);
  CHECK(header.metadata == std::map<std::string, std::string>{{"format", "pt"}, {"k", "é"}});
  CHECK(parse_raw(raw_safetensors("{}", 0)).tensors.empty());
  // As mlx writes a file without any.
  const auto bare = parse_raw(raw_safetensors("{\"__metadata__\":null,\"a\":" + kGood + "}", 4));
  CHECK(bare.tensors.size() == 1);
  CHECK(bare.metadata.empty());
}

TEST_CASE("white space around the header is accepted", "[unit]") {
  CHECK(parse_raw(raw_safetensors("  \n\t{\"a\":" + kGood + "}     ", 4)).tensors.size() == 1);
}

TEST_CASE("zero-size tensors may share an offset but lie inside nothing", "[unit]") {
  const std::string a = R"("a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  const auto zero = [](const char* name, int at) {
    const std::string offset = std::to_string(at);
    return std::string(",\"") + name + R"(":{"dtype":"F32","shape":[2,0],"data_offsets":[)" + offset + "," + offset +
           "]}";
  };
  CHECK(parse_raw(raw_safetensors("{" + a + zero("z", 4) + zero("y", 4) + zero("x", 0) + "}", 4)).tensors.size() == 4);
  CHECK_ERROR(parse_raw(raw_safetensors("{" + a + zero("z", 2) + "}", 4)), kFormat,
              "the tensor 'z' begins at byte 2 of the data, inside the tensor before it, which ends at 4");
}

// reference/reliability.md §3.1, row by row.
TEST_CASE("malformed safetensors are refused, each with its own message", "[unit]") {
  struct Case {
    const char* row;
    std::string file;
    std::string message;
  };
  const std::string good_file = one(kGood);
  const auto shaped = [](const std::string& shape, const std::string& offsets = "[0,4]") {
    return one(R"({"dtype":"U8","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}");
  };
  const auto at = [](const std::string& name, int begin, int end) {
    return "\"" + name + R"(":{"dtype":"U8","shape":[)" + std::to_string(end - begin) + R"(],"data_offsets":[)" +
           std::to_string(begin) + "," + std::to_string(end) + "]}";
  };
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += '[';
  std::string dimensions = "[1";
  for (int i = 0; i < 64; ++i) dimensions += ",1";
  const std::vector<Case> cases = {
      {"1", "", "0 bytes are too few"},
      {"1", "\x01\x02\x03", "3 bytes are too few"},
      {"2", length_prefix(100'000'001) + "{}",
       "the header would have 100000001 bytes, more than the 100000000 allowed"},
      {"2", length_prefix(UINT64_MAX) + "{}", "the header would have 18446744073709551615 bytes"},
      {"3", length_prefix(3) + "{}", "the header should have 3 bytes, but the file ends after 2: it is truncated"},
      {"3", good_file.substr(0, 20), "it is truncated"},
      {"4", raw_safetensors("{\"a\xFF\":" + kGood + "}", 4), "not valid UTF-8 at byte 3"},
      {"5", raw_safetensors("", 0), "broken: it is empty"},
      {"5", raw_safetensors("   ", 0), "broken: it is empty"},
      {"5", raw_safetensors("[1]", 0), "it begins with '[1]' instead of an object"},
      {"5", raw_safetensors("\xEF\xBB\xBF{}", 0), "instead of an object"},
      {"5", raw_safetensors("{\"a\":", 0), "it is not valid JSON at byte 5"},
      {"5", raw_safetensors("{} x", 0), "it is not valid JSON at byte 3, near 'x'"},
      {"5", raw_safetensors("{}{}", 0), "it is not valid JSON at byte 2"},
      {"5", raw_safetensors(std::string("{}\0\0", 4), 0), "a NUL at byte 2"},
      {"5", raw_safetensors("{\"a\":7}", 0), "'a' is 7 where an object was expected"},
      {"5", raw_safetensors("{\"a\":[]}", 0), "'a' is an array where an object was expected"},
      {"5", raw_safetensors("{\"a\":NaN}", 0), "it is not valid JSON at byte 5"},
      {"7", raw_safetensors("{" + at("a", 0, 2) + "," + at("a", 2, 4) + "}", 4), "'a' is in the header twice"},
      {"7", raw_safetensors("{" + at("a", 0, 2) + "," + at("\\u0061", 2, 4) + "}", 4), "'a' is in the header twice"},
      {"7", one(R"({"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]})"), "has the key 'dtype' twice"},
      {"7", one(R"({"dtype":"U8","shape":[4],"shape":[4],"data_offsets":[0,4]})"), "has the key 'shape' twice"},
      {"7", one(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"data_offsets":[0,4]})"), "'data_offsets' twice"},
      {"7", raw_safetensors(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "the key 'a' is in __metadata__ twice"},
      {"7", raw_safetensors(R"({"__metadata__":{},"__metadata__":{}})", 0), "__metadata__ is there twice"},
      {"8", one(R"({"dtype":"F4","shape":[4],"data_offsets":[0,4]})"), "'a' has the dtype 'F4', which is not read"},
      {"8", one(R"({"dtype":"u8","shape":[4],"data_offsets":[0,4]})"), "'a' has the dtype 'u8'"},
      {"8", one(R"({"dtype":3,"shape":[4],"data_offsets":[0,4]})"), "'a' has 3 in its dtype, where a string was"},
      {"8", one(R"({"shape":[4],"data_offsets":[0,4]})"), "'a' has no dtype"},
      {"8", one(R"({"dtype":"U8","data_offsets":[0,4]})"), "'a' has no shape"},
      {"8", one(R"({"dtype":"U8","shape":[4]})"), "'a' has no data_offsets"},
      {"8", one(R"({"dtype":"U8","shape":[4],"data_offsets":[0,4],"extra":1})"), "'a' has the unknown key 'extra'"},
      {"9", shaped("[-4]"), "'a' has -4 in its shape, where an integer of 0 or more was expected"},
      {"9", shaped("[-0]"), "where an integer of 0 or more was expected"},
      {"9", shaped("[4.0]"), "'a' has 4.0 in its shape"},
      {"9", shaped("[4e0]"), "'a' has 4e0 in its shape"},
      {"9", shaped("[\"4\"]"), "'a' has the string '4' in its shape"},
      {"9", shaped("[true]"), "'a' has true in its shape"},
      {"9", shaped("[null]"), "'a' has null in its shape"},
      {"9", shaped("[[4]]"), "'a' has an array in its shape"},
      {"9", shaped("{}"), "'a' has an object in its shape, where an array of integers was expected"},
      {"9", shaped("4"), "'a' has 4 in its shape, where an array of integers was expected"},
      {"9", shaped("[281474976710657]"), "'a' has the extent 281474976710657 in its shape, more than 2^48"},
      {"9", shaped("[18446744073709551616]"), "'a' has 18446744073709551616 in its shape"},
      {"9", shaped(dimensions + "]"), "'a' has more than 64 dimensions"},
      {"10", shaped("[281474976710656,65536]"), "whose bytes 64 bits do not count"},
      {"10", one(R"({"dtype":"F64","shape":[281474976710656,4096],"data_offsets":[0,4]})"), "64 bits do not count"},
      {"10", shaped("[0,281474976710656,65536]", "[0,0]"), "whose bytes 64 bits do not count"},
      {"12", shaped("[4]", "[4,0]"), "'a' has data_offsets that run backwards: [4, 0]"},
      {"12", shaped("[3]"), "'a' has 4 bytes by its data_offsets and 3 by its shape U8 [3]"},
      {"12", one(R"({"dtype":"F32","shape":[4],"data_offsets":[0,4]})"),
       "4 bytes by its data_offsets and 16 by its shape"},
      {"12", shaped("[4]", "[0]"), "'a' has 1 data_offsets, not two"},
      {"12", shaped("[4]", "[]"), "'a' has 0 data_offsets, not two"},
      {"12", shaped("[4]", "[0,4,8]"), "'a' has more than two data_offsets"},
      {"12", shaped("[4]", "[-1,3]"), "'a' has -1 in its data_offsets"},
      {"13", raw_safetensors("{" + at("a", 0, 2) + "," + at("b", 3, 5) + "}", 5),
       "'b' begins at byte 3 of the data, after a gap"},
      {"13", raw_safetensors("{" + at("a", 0, 3) + "," + at("b", 2, 5) + "}", 5),
       "'b' begins at byte 2 of the data, inside"},
      {"13", raw_safetensors("{" + at("a", 0, 4) + "," + at("b", 0, 4) + "}", 4),
       "'b' begins at byte 0 of the data, inside"},
      {"13", raw_safetensors("{" + at("a", 1, 4) + "}", 4), "'a' begins at byte 1 of the data, after a gap"},
      {"14", good_file + "x", "1 bytes follow the last tensor's data"},
      {"14", raw_safetensors("{}", 1), "1 bytes follow the last tensor's data"},
      {"14", good_file.substr(0, good_file.size() - 1),
       "'a' ends at byte 4 of the data, which has 3: the file is truncated"},
      {"16", raw_safetensors(R"({"__metadata__":{"a":1}})", 0), "'a' in __metadata__ is 1 where a string was expected"},
      {"16", raw_safetensors(R"({"__metadata__":{"a":{}}})", 0), "'a' in __metadata__ is an object where a string"},
      {"16", raw_safetensors(R"({"__metadata__":{"a":["b"]}})", 0), "'a' in __metadata__ is an array where a string"},
      {"7", raw_safetensors(R"({"__metadata__":null,"__metadata__":{}})", 0), "__metadata__ is there twice"},
      {"16", raw_safetensors(R"({"a":null})", 0), "'a' is null where an object was expected"},
      {"16", raw_safetensors(R"({"__metadata__":"x"})", 0), "'__metadata__' is the string 'x' where an object"},
      {"17", raw_safetensors("{" + at(std::string(4097, 'n'), 0, 4) + "}", 4),
       "a tensor's name has 4097 bytes, more than 4096"},
      {"17", raw_safetensors("{\"a\":" + deep, 0), "'a' is an array where an object was expected"},
      {"17", raw_safetensors("{\"e\\u001b[2J\\u0000\":{}}", 0), "the tensor 'e\\x1b[2J\\x00' has no dtype"},
      {"18", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
       "is a Git LFS pointer, not the file itself: run"},
      {"-", std::string("PK\x03\x04zip of pickles"), "is a pickle file of PyTorch under another name"},
      {"-", "<!DOCTYPE html><html>", "is a web page, not weights"},
      {"-", std::string("GGUF\x03\0\0\0", 8), "is a GGUF file"},
  };
  for (const Case& c : cases) {
    INFO("row " << c.row);
    CHECK_ERROR(parse_raw(c.file), kFormat, c.message);
    CHECK_ERROR(parse_raw(c.file), kFormat, "x.safetensors");
  }
}

TEST_CASE("many tensors are read, more than a million refused, neither slowly", "[unit]") {
  const auto many = [](int n) {
    std::string header = "{";
    header.reserve(static_cast<std::size_t>(n) * 60);
    for (int i = 0; i < n; ++i) {
      header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
    }
    return raw_safetensors(header + "}", 0);
  };
  const auto start = std::chrono::steady_clock::now();
  CHECK(parse_raw(many(50'000)).tensors.size() == 50'000);
  CHECK_ERROR(parse_raw(many(1'000'001)), kFormat, "more than 1,000,000 tensors");
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(60));
}

TEST_CASE("an opened file finds its tensors' bytes", "[unit]") {
  const lowrank_test::TempDir dir;
  lowrank_test::write_text(dir / "f.safetensors", lowrank_test::small_safetensors({"a", "b"}));
  const auto file = SafetensorsFile::open(dir / "f.safetensors");
  REQUIRE(file->find("b") != nullptr);
  CHECK(file->find("c") == nullptr);
  CHECK(file->bytes(*file->find("b")).size() == 1);
  CHECK(file->bytes(*file->find("b"))[0] == std::byte{1});
  CHECK_ERROR(SafetensorsFile::open(dir / "none"), kMissing, "none");
  lowrank_test::write_text(dir / "empty", "");
  CHECK_ERROR(SafetensorsFile::open(dir / "empty"), kFormat, "empty: 0 bytes are too few");
}

TEST_CASE("dtypes have the names and sizes of the format", "[unit]") {
  CHECK(dtype_bytes(DType::kBF16) == 2);
  CHECK(dtype_bytes(DType::kU64) == 8);
  CHECK(dtype_name(DType::kF8E4M3) == "F8_E4M3");
  for (int i = 0; i <= static_cast<int>(DType::kU64); ++i) {
    CHECK(dtype_from_name(dtype_name(static_cast<DType>(i))) == static_cast<DType>(i));
  }
  CHECK_FALSE(dtype_from_name("F6"));
}

TEST_CASE("a length that begins as another format's files do is a length", "[unit]") {
  const std::string header = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  // 0x0280 and 0x0480 are pickles' first bytes, 0x04034b50 a zip archive's, alone and above them.
  for (const std::size_t length : {0x280U, 0x480U, 0x10280U, 0x30480U, 0x4034b50U}) {
    INFO(length);
    const std::string padded = header + std::string(length - header.size(), ' ');
    CHECK(parse_raw(raw_safetensors(padded, 1)).tensors.at(0).name == "a");
  }
  // Still told apart: what is no length, or is followed by no JSON.
  using namespace std::string_literals;
  for (const std::string& file : {"\x80\x02}q\0(X\x04\0\0\0"s, "\x80\x02\0\0\0\0\0\0}"s + std::string(640, 'x'),
                                  "\x80\x04\x95\x10\0\0\0\0\0\0\0}"s, "PK\x03\x04\x14\0\0\0\x08\0"s}) {
    CHECK_ERROR(parse_raw(file), kFormat, "is a pickle file of PyTorch under another name");
  }
}
