#include "core/expect_error.h"
#include "formats/raw_safetensors.h"

using namespace lowrank::formats;
using lowrank_test::read_text;

namespace {

// The tensors of tests/parity/formats_golden.py.
std::vector<TensorToWrite> reference_tensors() {
  using enum DType;
  struct Row {
    const char* name;
    DType dtype;
    std::vector<std::int64_t> shape;
  };
  const std::vector<Row> rows = {{"model.layers.1.weight", kF32, {3, 5}},
                                 {"model.layers.0.weight", kF32, {2, 2, 2}},
                                 {"b16", kBF16, {7}},
                                 {"h16", kF16, {1, 3}},
                                 {"f64", kF64, {2}},
                                 {"i64", kI64, {3}},
                                 {"i32", kI32, {1}},
                                 {"i16", kI16, {3}},
                                 {"u16", kU16, {1}},
                                 {"u32", kU32, {1}},
                                 {"u64", kU64, {1}},
                                 {"i8", kI8, {5}},
                                 {"u8", kU8, {3}},
                                 {"flag", kBool, {3}},
                                 {"e5", kF8E5M2, {2}},
                                 {"e4", kF8E4M3, {3}},
                                 {"scalar", kF32, {}},
                                 {"empty", kF32, {0, 4}},
                                 {"odd \"name\" é\\\x01\n\t/\x7f漢", kU8, {2}}};
  std::vector<TensorToWrite> tensors;
  for (std::size_t ordinal = 0; ordinal < rows.size(); ++ordinal) {
    const Row& row = rows[ordinal];
    std::string bytes;
    for (std::uint64_t k = 0; k < *tensor_bytes(row.dtype, row.shape); ++k) {
      const auto value = (7 * k + 3 * ordinal) % 251;
      bytes += static_cast<char>(row.dtype == kBool ? value & 1 : value);
    }
    tensors.push_back({row.name, row.dtype, row.shape, [bytes](const auto& sink) {
                         const auto all = std::as_bytes(std::span(bytes));
                         sink(all.first(all.size() / 2));  // in two pieces
                         sink(all.subspan(all.size() / 2));
                       }});
  }
  return tensors;
}

TensorToWrite bytes_tensor(const std::string& name, std::int64_t declared, const std::string& bytes) {
  return {name, DType::kU8, {declared}, [bytes](const auto& sink) { sink(std::as_bytes(std::span(bytes))); }};
}

}  // namespace

TEST_CASE("a written file equals the reference writer's byte for byte", "[parity]") {
  const lowrank_test::TempDir dir;
  const fs::path golden = lowrank_test::golden_dir() / "formats";
  write_safetensors(dir / "f", reference_tensors());
  CHECK(read_text(dir / "f") == read_text(golden / "reference.safetensors"));
  write_safetensors(dir / "g", {bytes_tensor("a", 3, std::string("\x00\x07\x0e", 3))}, {});
  CHECK(read_text(dir / "g") == read_text(golden / "no_metadata.safetensors"));
}

TEST_CASE("the reference writer's file is read", "[parity]") {
  const auto file = SafetensorsFile::open(lowrank_test::golden_dir() / "formats" / "reference.safetensors");
  CHECK(file->header().metadata == std::map<std::string, std::string>{{"format", "pt"}});
  const auto tensors = reference_tensors();
  CHECK(file->header().tensors.size() == tensors.size());
  for (const TensorToWrite& tensor : tensors) {
    INFO(tensor.name);
    const TensorInfo* info = file->find(tensor.name);
    REQUIRE(info != nullptr);
    CHECK(info->dtype == tensor.dtype);
    CHECK(info->shape == tensor.shape);
    std::vector<std::byte> wanted;
    tensor.produce([&](auto bytes) { wanted.insert(wanted.end(), bytes.begin(), bytes.end()); });
    const auto found = file->bytes(*info);
    CHECK(std::equal(found.begin(), found.end(), wanted.begin(), wanted.end()));
  }
}

TEST_CASE("metadata is written in order and read back", "[unit]") {
  const lowrank_test::TempDir dir;
  const std::map<std::string, std::string> metadata = {{"z", "\"1\"\n"}, {"a", "é"}, {"", ""}};
  write_safetensors(dir / "f", {}, metadata);
  CHECK(SafetensorsFile::open(dir / "f")->header().metadata == metadata);
  CHECK(read_text(dir / "f").substr(8).starts_with(R"({"__metadata__":{"":"","a":"é","z":"\"1\"\n"}})"));
  CHECK(read_text(dir / "f").size() % 8 == 0);
}

TEST_CASE("a tensor that is not what it said stops the writing, and nothing is left", "[unit]") {
  const lowrank_test::TempDir dir;
  CHECK_ERROR(write_safetensors(dir / "f", {bytes_tensor("a", 4, "abc")}), kInternal, "'a' has 3 bytes instead of 4");
  CHECK_ERROR(write_safetensors(dir / "f", {bytes_tensor("a", 2, "abc")}), kInternal, "'a' has more than its 2 bytes");
  CHECK_ERROR(write_safetensors(dir / "f", {bytes_tensor("a", 1, "x"), bytes_tensor("a", 1, "y")}), kInternal,
              "two tensors are called 'a'");
  CHECK_ERROR(write_safetensors(dir / "f", {bytes_tensor("__metadata__", 1, "x")}), kInternal, "keeps for itself");
  CHECK_ERROR(write_safetensors(dir / "f", {bytes_tensor("\xFF", 1, "x")}), kInternal, "is not UTF-8");
  CHECK_ERROR(write_safetensors(dir / "f", {bytes_tensor("a", -1, "x")}), kInternal, "is too large");
  CHECK_ERROR(write_safetensors(dir / "no/f", {bytes_tensor("a", 1, "x")}), kIo, "no' does not exist");
  CHECK(fs::is_empty(dir.path()));
}
