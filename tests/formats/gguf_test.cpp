// GGUF: element types against PyPI gguf's quantiser, files as they are written and read, and files of every wrong kind.
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/expect_error.h"
#include "lowrank/formats/gguf_read.h"
#include "peak_memory.h"

using namespace lowrank::formats;
using lowrank_test::golden_dir;
using lowrank_test::read_text;
using lowrank_test::TempDir;
using lowrank_test::write_text;

namespace fs = std::filesystem;

namespace {

std::vector<float> floats(const GgufFile& file, const std::string& name) {
  const GgufTensorInfo* info = file.find(name);
  REQUIRE(info != nullptr);
  const auto bytes = file.bytes(*info);
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// A file with one F32 tensor "t" [2, 3] and one value, as write_gguf writes it.
std::string small_file(const TempDir& folder) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  write_gguf(folder.path() / "small.gguf", {{"a.number", std::uint32_t{5}}},
             {{"t", {2, 3}, GgmlType::kF32, [&](const auto& sink) { sink(std::as_bytes(std::span(values))); }}});
  return read_text(folder.path() / "small.gguf");
}

std::string changed(std::string bytes, std::size_t at, const std::string& to) {
  return bytes.replace(at, to.size(), to);
}

}  // namespace

TEST_CASE("F16, BF16, Q8_0 and Q4_0 are those of PyPI gguf, byte for byte and read back", "[parity]") {
  const GgufFile file = GgufFile::open(golden_dir() / "formats" / "reference.gguf");
  const std::vector<float> x = floats(file, "x");
  REQUIRE(x.size() == 12 * 64);
  for (const auto& [name, type] : std::vector<std::pair<std::string, GgmlType>>{
           {"f16", GgmlType::kF16}, {"bf16", GgmlType::kBF16}, {"q8_0", GgmlType::kQ8_0}, {"q4_0", GgmlType::kQ4_0}}) {
    INFO(name);
    const GgufTensorInfo* info = file.find("x." + name);
    REQUIRE(info != nullptr);
    REQUIRE(info->type == static_cast<std::uint32_t>(type));
    const auto expected = file.bytes(*info);
    std::vector<std::byte> bytes(expected.size());
    encode_values(type, x, bytes);
    CHECK(std::memcmp(bytes.data(), expected.data(), expected.size()) == 0);
    std::vector<float> back(x.size());
    decode_values(type, expected, back);
    CHECK(back == floats(file, "x." + name + ".values"));
  }
}

TEST_CASE("values of a GGUF file that PyPI gguf wrote", "[parity]") {
  const GgufFile file = GgufFile::open(golden_dir() / "formats" / "reference.gguf");
  CHECK(file.values().at("general.architecture") == GgufValue(std::string("llama")));
  CHECK(file.values().at("a.number") == GgufValue(std::uint32_t{7}));
  CHECK(file.values().at("a.small") == GgufValue(std::int32_t{-3}));
  CHECK_FALSE(file.values().contains("a.long"));  // 64 bits: passed over
  CHECK(file.values().at("a.real") == GgufValue(0.5F));
  CHECK(file.values().at("a.truth") == GgufValue(true));
  CHECK(file.values().at("a.text") == GgufValue(std::string("Größe")));
  CHECK(file.values().at("a.texts") == GgufValue(std::vector<std::string>{"one", "", "three"}));
  CHECK(file.values().at("a.numbers") == GgufValue(std::vector<std::int32_t>{1, -2, 3}));
  CHECK(file.values().at("a.reals") == GgufValue(std::vector<float>{0.25F, -1.5F}));
  CHECK(file.values().at("a.truths") == GgufValue(std::vector<bool>{true, false, true}));
}

TEST_CASE("what is written to a GGUF file is read from it", "[unit]") {
  const TempDir folder;
  const GgufValues values = {{"a", std::uint32_t{1}},
                             {"b", std::int32_t{-1}},
                             {"c", 1.5F},
                             {"d", true},
                             {"e", std::string("text")},
                             {"f", std::vector<std::int32_t>{1, 2}},
                             {"g", std::vector<float>{0.5F}},
                             {"h", std::vector<bool>{false, true}},
                             {"i", std::vector<std::string>{"x", "y"}},
                             {"j", std::vector<std::uint32_t>{3, 4000000000U}}};
  std::vector<float> x(64);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 20;
  std::vector<std::byte> blocks(ggml_bytes(GgmlType::kQ8_0, {2, 32}));
  encode_values(GgmlType::kQ8_0, x, blocks);
  write_gguf(folder.path() / "x.gguf", values,
             {{"q", {2, 32}, GgmlType::kQ8_0, [&](const auto& sink) { sink(std::span<const std::byte>(blocks)); }},
              {"x", {2, 2, 16}, GgmlType::kF32, [&](const auto& sink) { sink(std::as_bytes(std::span(x))); }}});
  const GgufFile file = GgufFile::open(folder.path() / "x.gguf");
  REQUIRE(file.values().size() == values.size());
  for (const auto& [key, value] : values) CHECK(file.values().at(key) == value);
  CHECK(file.find("x")->shape == std::vector<std::int64_t>{2, 2, 16});
  CHECK(floats(file, "x") == x);
  const auto read = file.bytes(*file.find("q"));
  CHECK(std::memcmp(read.data(), blocks.data(), blocks.size()) == 0);
  CHECK_THROWS_AS(ggml_bytes(GgmlType::kQ4_0, {2, 33}), lowrank::InternalError);
}

TEST_CASE("a GGUF file that is cut off anywhere, or says what cannot be, is refused", "[unit]") {
  const TempDir folder;
  const std::string whole = small_file(folder);
  const fs::path file = folder.path() / "broken.gguf";
  const auto refused = [&](const std::string& bytes, const std::string& why) {
    write_text(file, bytes);
    INFO(why);
    CHECK_ERROR(GgufFile::open(file), kFormat, why);
  };
  for (std::size_t size = 0; size < whole.size() - 8; ++size) {
    write_text(file, whole.substr(0, size));
    CHECK_THROWS_AS(GgufFile::open(file), lowrank::FormatError);
  }
  const std::string huge(8, '\x7f');
  refused("{}{}{}", "is not a GGUF file");
  refused(changed(whole, 4, std::string("\x09\0\0\0", 4)), "of version 9");
  refused(changed(whole, 8, huge), "tensors and");
  refused(changed(whole, 16, huge), "tensors and");
  refused(changed(whole, 24, huge), "inside its header");
  const std::size_t name = whole.find("t", whole.find("a.number") + 8);
  refused(changed(whole, name + 1, "\x09"), "has 9 extents");
  refused(changed(whole, name + 5, huge), "an extent that cannot be");
  refused(changed(whole, name + 25, huge), "not aligned");
  refused(changed(whole, name + 25, std::string("\0\0\0\0\0\0\0\x40", 8)), "outside of the file");
}

TEST_CASE("a GGUF file takes at most eight times its size to read", "[unit]") {
  const TempDir folder;
  const auto little = [](std::uint64_t value, std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  };
  const std::size_t size = 24 << 20;
  const auto array = [&](std::uint32_t type, std::size_t width) {
    return "GGUF" + little(3, 4) + little(0, 8) + little(1, 8) + little(1, 8) + "a" + little(9, 4) + little(type, 4) +
           little(size / width, 8) + std::string(size, '\0');
  };
  std::string tensors = "GGUF" + little(3, 4) + little(size / 37, 8) + little(0, 8);
  for (std::size_t i = 0; i < size / 37; ++i) {
    const std::string name = little(0x2121212121 + i * 7, 5);
    tensors += little(5, 8) + name + little(1, 4) + little(1, 8) + little(99, 4) + little(0, 8);
  }
  for (const std::string& text : {array(1, 1), array(8, 8), array(7, 1), tensors}) {  // numbers, empty texts, truths
    write_text(folder.path() / "large.gguf", text);
    CHECK(lowrank_test::peak_growth([&] { (void)GgufFile::open(folder.path() / "large.gguf"); }) < 8 * size + (16 << 20));
  }
}
