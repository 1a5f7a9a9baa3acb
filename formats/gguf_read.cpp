#include "lowrank/formats/gguf_read.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::formats {

namespace {

constexpr std::uint64_t kMostGgufTensors = 1 << 20, kMostValues = 1 << 16;
constexpr std::uint64_t kLeastInfo = 33;  // bytes of what says one tensor
constexpr std::int64_t kMostElements = std::int64_t{1} << 48;

/// Reads little-endian numbers and texts from bytes, never beyond their end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  [[noreturn]] void fail(const std::string& problem) const {
    throw FormatError(fmt::format("{}: {}", where_, problem));
  }
  template <typename T>
  T number() {
    need(sizeof(T));
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(bytes_[at_ + i]) << (8 * i);
    at_ += sizeof(T);
    return static_cast<T>(value);
  }
  float real() { return std::bit_cast<float>(number<std::uint32_t>()); }
  std::string text() {
    const auto size = number<std::uint64_t>();
    need(size);
    std::string text(reinterpret_cast<const char*>(bytes_.data()) + at_, size);
    at_ += size;
    return text;
  }
  void need(std::uint64_t count) const {
    if (count > bytes_.size() - at_) fail(fmt::format("the file ends at byte {}, inside its header", bytes_.size()));
  }
  void pass(std::uint64_t count) {
    need(count);
    at_ += count;
  }
  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return bytes_.size() - at_; }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
  std::uint64_t at_ = 0;
};

// The numbers of the types of values (ggml's gguf.h).
enum Type : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kReal,
  kBool,
  kText,
  kArray,
  kU64,
  kI64,
  kDouble,
  kTypes
};

/// Bytes of a number of this type; 0: it is none.
std::uint64_t width_of(std::uint32_t type) {
  constexpr std::uint64_t widths[kTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < kTypes ? widths[type] : 0;
}

std::uint32_t read_unsigned(Cursor& cursor, std::uint32_t type) {
  if (type == kU8) return cursor.number<std::uint8_t>();
  return type == kU16 ? cursor.number<std::uint16_t>() : cursor.number<std::uint32_t>();
}

std::int32_t read_signed(Cursor& cursor, std::uint32_t type) {
  if (type == kI8) return cursor.number<std::int8_t>();
  return type == kI16 ? cursor.number<std::int16_t>() : cursor.number<std::int32_t>();
}

template <typename T, typename Read>
GgufValue read_all(std::uint64_t count, const Read& read) {
  std::vector<T> all;
  all.reserve(count);  // the file has bytes for as many
  for (std::uint64_t i = 0; i < count; ++i) all.push_back(read());
  return all;
}

std::optional<GgufValue> read_array(Cursor& cursor) {
  const auto type = cursor.number<std::uint32_t>();
  const auto count = cursor.number<std::uint64_t>();
  const std::uint64_t least = type == kText ? 8 : width_of(type);
  if (least == 0) cursor.fail(fmt::format("an array of values of type {} cannot be read", type));
  if (count > cursor.left() / least)
    cursor.fail(fmt::format("an array is said to have {} values, more than the file has bytes for", count));
  switch (type) {
    case kText:
      return read_all<std::string>(count, [&] { return cursor.text(); });
    case kReal:
      return read_all<float>(count, [&] { return cursor.real(); });
    case kBool:
      return read_all<bool>(count, [&] { return cursor.number<std::uint8_t>() != 0; });
    case kU32:
      return read_all<std::uint32_t>(count, [&] { return cursor.number<std::uint32_t>(); });
    case kI8:
    case kI16:
    case kI32:
      return read_all<std::int32_t>(count, [&] { return read_signed(cursor, type); });
    default:
      cursor.pass(count * least);
      return std::nullopt;
  }
}

std::optional<GgufValue> read_value(Cursor& cursor) {
  const auto type = cursor.number<std::uint32_t>();
  switch (type) {
    case kU8:
    case kU16:
    case kU32:
      return read_unsigned(cursor, type);
    case kI8:
    case kI16:
    case kI32:
      return read_signed(cursor, type);
    case kReal:
      return cursor.real();
    case kBool:
      return cursor.number<std::uint8_t>() != 0;
    case kText:
      return cursor.text();
    case kArray:
      return read_array(cursor);
    default:
      if (width_of(type) == 0) cursor.fail(fmt::format("a value has the unknown type {}", type));
      cursor.pass(width_of(type));
      return std::nullopt;
  }
}

GgufTensorInfo read_info(Cursor& cursor) {
  GgufTensorInfo info;
  info.name = cursor.text();
  const auto extents = cursor.number<std::uint32_t>();
  const auto fail = [&](const std::string& problem) {
    cursor.fail(fmt::format("the tensor '{}' {}", core::printable(info.name), problem));
  };
  if (info.name.empty() || info.name.size() > 63) fail("has a name of no or more than 63 bytes");
  if (extents == 0 || extents > 4) fail(fmt::format("has {} extents; 1 to 4 are possible", extents));
  std::int64_t elements = 1;
  for (std::uint32_t i = 0; i < extents; ++i) {
    const auto extent = static_cast<std::int64_t>(cursor.number<std::uint64_t>());
    if (extent <= 0 || extent > kMostElements / elements) fail("has an extent that cannot be");
    elements *= extent;
    info.shape.insert(info.shape.begin(), extent);
  }
  info.type = cursor.number<std::uint32_t>();
  info.offset = cursor.number<std::uint64_t>();
  return info;
}

bool is_known(std::uint32_t type) { return ggml_name(static_cast<GgmlType>(type)) != "?"; }

}  // namespace

GgufFile GgufFile::open(const core::FileRef& file) {
  GgufFile result;
  result.map_ = core::MappedFile::open(file);
  Cursor cursor(result.map_->bytes(), file.string());
  if (cursor.left() < 4 || cursor.number<std::uint32_t>() != 0x46554747) cursor.fail("is not a GGUF file");
  const auto version = cursor.number<std::uint32_t>();
  if (version != 2 && version != 3)
    cursor.fail(fmt::format("is a GGUF file of version {}; 2 and 3, little-endian, can be read", version));
  const auto tensors = cursor.number<std::uint64_t>(), values = cursor.number<std::uint64_t>();
  if (tensors > kMostGgufTensors || values > kMostValues)
    cursor.fail(fmt::format("is said to have {} tensors and {} values", tensors, values));
  std::uint64_t alignment = 32;
  std::set<std::string> keys;
  for (std::uint64_t i = 0; i < values; ++i) {
    const std::string key = cursor.text();
    if (!keys.insert(key).second) cursor.fail(fmt::format("the key '{}' is there twice", core::printable(key)));
    std::optional<GgufValue> value = read_value(cursor);
    if (!value) continue;
    if (key == "general.alignment") {
      const auto* number = std::get_if<std::uint32_t>(&*value);
      if (number == nullptr || *number == 0 || *number > 1 << 16 || !std::has_single_bit(*number))
        cursor.fail("general.alignment is not a power of two");
      alignment = *number;
    }
    result.values_.emplace(key, std::move(*value));
  }
  std::set<std::string> names;
  result.tensors_.reserve(std::min(tensors, cursor.left() / kLeastInfo));
  for (std::uint64_t i = 0; i < tensors; ++i) {
    result.tensors_.push_back(read_info(cursor));
    const std::string& name = result.tensors_.back().name;
    if (!names.insert(name).second) cursor.fail(fmt::format("the tensor '{}' is there twice", core::printable(name)));
  }
  result.data_ = (cursor.at() + alignment - 1) / alignment * alignment;
  const std::uint64_t size = result.map_->bytes().size();
  for (const GgufTensorInfo& info : result.tensors_) {
    const auto fail = [&](const char* problem) {
      cursor.fail(fmt::format("the tensor '{}' {}", core::printable(info.name), problem));
    };
    if (info.offset % alignment != 0) fail("lies at an offset that is not aligned");
    if (!is_known(info.type)) continue;
    const auto type = static_cast<GgmlType>(info.type);
    if (info.shape.back() % ggml_block(type) != 0) fail("has rows that are no whole blocks");
    if (result.data_ > size || info.offset > size - result.data_ ||
        ggml_bytes(type, info.shape) > size - result.data_ - info.offset)
      fail("lies outside of the file, which is incomplete");
  }
  return result;
}

const GgufTensorInfo* GgufFile::find(std::string_view name) const {
  const auto found =
      std::find_if(tensors_.begin(), tensors_.end(), [&](const GgufTensorInfo& info) { return info.name == name; });
  return found == tensors_.end() ? nullptr : &*found;
}

std::span<const std::byte> GgufFile::bytes(const GgufTensorInfo& tensor) const {
  if (!is_known(tensor.type))
    throw FormatError(
        fmt::format("{}: the tensor '{}' is of ggml's type {}, which cannot be read; F32, F16, BF16, Q8_0 and Q4_0 can",
                    map_->path().string(), core::printable(tensor.name), tensor.type));
  return map_->bytes().subspan(data_ + tensor.offset, ggml_bytes(static_cast<GgmlType>(tensor.type), tensor.shape));
}

}  // namespace lowrank::formats
