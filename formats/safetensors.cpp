#include "lowrank/formats/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/lfs_pointer.h"
#include "lowrank/core/text.h"

namespace lowrank::formats {

namespace {

using core::format_bytes;
using core::format_count;
using core::printable;

constexpr std::uint64_t kLargestHeader = 100'000'000;  // the reference reader's cap
constexpr std::size_t kMostTensors = 1'000'000;
constexpr std::size_t kLongestName = 4096;
constexpr std::size_t kMostDimensions = 64;
constexpr std::uint64_t kLargestExtent = std::uint64_t{1} << 48;

// Whether the file begins as a safetensors file may: a length within the cap and the file, then JSON. Any eight bytes may
// be a length: 640 is also how pickle files begin, 67324752 how zip archives do.
bool begins_as_safetensors(std::string_view file) {
  if (file.size() < 9) return false;
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(file[static_cast<std::size_t>(i)]);
  return length <= kLargestHeader && length <= file.size() - 8 &&
         std::string_view("{ \t\r\n").find(file[8]) != std::string_view::npos;
}

// What a file is when it is no safetensors file at all; the cases that people run into.
std::optional<std::string> another_format(std::string_view file) {
  if (begins_as_safetensors(file)) return std::nullopt;
  if (auto pointer = core::told_of_lfs_pointer(file)) return pointer;
  if (file.starts_with("PK\x03\x04") || file.starts_with("\x80\x02") || file.starts_with("\x80\x04")) {
    return "is a pickle file of PyTorch under another name; pickle files can run code and are never read: save the "
           "model again with save_pretrained(..., safe_serialization=True)";
  }
  if (file.starts_with("GGUF")) return "is a GGUF file, not safetensors; give the original model's folder";
  if (file.starts_with("<!DOCTYPE") || file.starts_with("<!doctype") || file.starts_with("<html")) {
    return "is a web page, not weights: the download went wrong; fetch the file again";
  }
  return std::nullopt;
}

// Takes the header's JSON as a stream of events, so that nothing but the result is ever built from a hostile header.
// States by depth: 0 outside, 1 among tensor names, 2 inside a tensor or __metadata__, 3 inside shape or data_offsets.
class HeaderReader {
 public:
  HeaderReader(const std::string& where, std::string_view text) : where_(where), text_(text) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() {
    const bool none = depth_ == 1 && key_ == "__metadata__";  // as mlx writes, and the format's own library reads
    if (none && std::exchange(had_metadata_, true)) fail_header("__metadata__ is there twice");
    return none || unexpected("null");
  }
  bool boolean(bool value) { return unexpected(value ? "true" : "false"); }
  bool number_integer(std::int64_t value) { return unexpected(fmt::format("{}", value)); }  // negative, or -0
  bool number_float(double, const std::string& text) { return unexpected(text); }
  bool binary(core::Json::binary_t&) { return false; }

  bool number_unsigned(std::uint64_t value) {
    if (depth_ != 3) return unexpected(fmt::format("{}", value));
    if (key_ == "shape") {
      if (value > kLargestExtent) fail(fmt::format("has the extent {} in its shape, more than 2^48", value));
      if (tensor().shape.size() == kMostDimensions) fail(fmt::format("has more than {} dimensions", kMostDimensions));
      tensor().shape.push_back(static_cast<std::int64_t>(value));
    } else {
      if (offsets_ == 2) fail("has more than two data_offsets");
      (offsets_++ == 0 ? tensor().begin : tensor().end) = value;
    }
    return true;
  }

  bool string(std::string& value) {
    if (depth_ == 2 && in_metadata_) {
      if (!header_.metadata.emplace(std::move(key_), std::move(value)).second) {
        fail_header(fmt::format("the key '{}' is in __metadata__ twice", printable(last_key_)));
      }
      return true;
    }
    if (depth_ != 2 || key_ != "dtype") return unexpected(fmt::format("the string '{}'", printable(value)));
    const auto dtype = dtype_from_name(value);
    if (!dtype) {
      fail(
          fmt::format("has the dtype '{}', which is not read (BOOL, U8 to U64, I8 to I64, F8_E5M2, F8_E4M3, F16, BF16, "
                      "F32 and F64 are)",
                      printable(value)));
    }
    tensor().dtype = *dtype;
    return true;
  }

  bool start_object(std::size_t) {
    if (depth_ == 0) return enter(1);
    if (depth_ != 1) return unexpected("an object");
    in_metadata_ = key_ == "__metadata__";
    if (in_metadata_ && std::exchange(had_metadata_, true)) fail_header("__metadata__ is there twice");
    if (!in_metadata_) {
      if (header_.tensors.size() == kMostTensors) {
        fail_header(fmt::format("more than {} tensors", format_count(static_cast<std::int64_t>(kMostTensors))));
      }
      header_.tensors.emplace_back().name = std::move(key_);
      had_dtype_ = had_shape_ = had_offsets_ = false;
    }
    return enter(2);
  }

  bool end_object() {
    if (depth_ == 2 && !in_metadata_) {
      if (!had_dtype_) fail("has no dtype");
      if (!had_shape_) fail("has no shape");
      if (!had_offsets_) fail("has no data_offsets");
    }
    --depth_;
    return true;
  }

  bool start_array(std::size_t) {
    if (depth_ != 2 || in_metadata_ || key_ == "dtype") return unexpected("an array");
    offsets_ = 0;
    return enter(3);
  }

  bool end_array() {
    if (key_ == "data_offsets" && offsets_ != 2) fail(fmt::format("has {} data_offsets, not two", offsets_));
    --depth_;
    return true;
  }

  bool key(std::string& value) {
    key_ = std::move(value);
    if (depth_ == 1) {
      if (key_.size() > kLongestName) {
        fail_header(fmt::format("a tensor's name has {} bytes, more than {}: '{}'", key_.size(), kLongestName,
                                printable(key_)));
      }
    } else if (in_metadata_) {
      last_key_ = key_;
    } else {
      bool* had = key_ == "dtype"          ? &had_dtype_
                  : key_ == "shape"        ? &had_shape_
                  : key_ == "data_offsets" ? &had_offsets_
                                           : nullptr;
      if (had == nullptr) fail(fmt::format("has the unknown key '{}'", printable(key_)));
      if (std::exchange(*had, true)) fail(fmt::format("has the key '{}' twice", key_));
    }
    return true;
  }

  template <class Exception>
  bool parse_error(std::size_t position, const std::string&, const Exception&) {
    const std::size_t offset = position == 0 ? 0 : position - 1;
    const std::string_view rest = text_.substr(std::min(offset, text_.size()));
    fail_header(fmt::format("it is not valid JSON at byte {}, near '{}'", offset, printable(rest, 20)));
  }

 private:
  TensorInfo& tensor() { return header_.tensors.back(); }

  bool enter(int depth) {
    depth_ = depth;
    return true;
  }

  [[noreturn]] void fail(const std::string& problem) {
    throw FormatError(fmt::format("{}: the tensor '{}' {}", where_, printable(tensor().name), problem));
  }
  [[noreturn]] void fail_header(const std::string& problem) {
    throw FormatError(fmt::format("{}: the safetensors header is broken: {}", where_, problem));
  }

  bool unexpected(const std::string& what) {
    if (depth_ == 0) fail_header(what + " where an object was expected");
    if (depth_ == 1) {
      fail_header(fmt::format("'{}' is {} where an object was expected", printable(key_), printable(what)));
    }
    if (in_metadata_) {
      fail_header(
          fmt::format("'{}' in __metadata__ is {} where a string was expected", printable(last_key_), printable(what)));
    }
    fail(fmt::format("has {} in its {}, where {} was expected", printable(what), key_,
                     key_ == "dtype" ? "a string"
                     : depth_ == 2   ? "an array of integers"
                                     : "an integer of 0 or more"));
  }

  const std::string& where_;
  std::string_view text_;
  SafetensorsHeader header_;
  int depth_ = 0;
  std::string key_, last_key_;  // last_key_ survives the move of key_ into the metadata
  bool in_metadata_ = false, had_metadata_ = false;
  bool had_dtype_ = false, had_shape_ = false, had_offsets_ = false;
  int offsets_ = 0;
};

void refuse_equal_names(const SafetensorsHeader& header, const std::string& where) {
  std::vector<std::uint32_t> order(header.tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto name = [&](std::uint32_t i) -> const std::string& { return header.tensors[i].name; };
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return name(a) < name(b); });
  const auto twice = std::adjacent_find(order.begin(), order.end(), [&](auto a, auto b) { return name(a) == name(b); });
  if (twice != order.end()) {
    throw FormatError(fmt::format("{}: the tensor '{}' is in the header twice", where, printable(name(*twice))));
  }
}

// The tensors must tile the data part exactly: then no two share bytes, and no byte is outside every tensor.
void check_layout(SafetensorsHeader& header, std::uint64_t data_bytes, const std::string& where) {
  for (const TensorInfo& info : header.tensors) {
    const auto fail = [&](const std::string& problem) {
      throw FormatError(fmt::format("{}: the tensor '{}' {}", where, printable(info.name), problem));
    };
    const auto bytes = tensor_bytes(info.dtype, info.shape);
    const auto shape = [&] { return fmt::format("{} [{}]", dtype_name(info.dtype), fmt::join(info.shape, ", ")); };
    if (!bytes) fail(fmt::format("has the shape {}, whose bytes 64 bits do not count", shape()));
    if (info.end < info.begin) fail(fmt::format("has data_offsets that run backwards: [{}, {}]", info.begin, info.end));
    if (info.end - info.begin != *bytes) {
      fail(fmt::format("has {} bytes by its data_offsets and {} by its shape {}", info.end - info.begin, *bytes,
                       shape()));
    }
    if (info.end > data_bytes) {
      fail(fmt::format("ends at byte {} of the data, which has {}: the file is truncated; download or save it again",
                       info.end, data_bytes));
    }
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::uint64_t expected = 0;
  for (const TensorInfo& info : header.tensors) {
    if (info.begin != expected) {
      throw FormatError(fmt::format(
          "{}: the tensor '{}' begins at byte {} of the data, {} the tensor before it, which ends "
          "at {}",
          where, printable(info.name), info.begin, info.begin < expected ? "inside" : "after a gap behind", expected));
    }
    expected = info.end;
  }
  if (expected != data_bytes) {
    throw FormatError(fmt::format("{}: {} bytes follow the last tensor's data; a safetensors file ends with it", where,
                                  data_bytes - expected));
  }
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  if (const auto other = another_format(bytes)) throw FormatError(where + " " + *other);
  if (bytes.size() < 8) {
    throw FormatError(
        fmt::format("{}: {} bytes are too few for a safetensors file; download or save it again", where, bytes.size()));
  }
  std::uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i)
    header_bytes = header_bytes << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  if (header_bytes > kLargestHeader) {
    throw FormatError(
        fmt::format("{}: the header would have {} bytes, more than the {} allowed: not a safetensors file, or "
                    "a damaged one",
                    where, header_bytes, kLargestHeader));
  }
  if (header_bytes > bytes.size() - 8) {
    throw FormatError(
        fmt::format("{}: the header should have {} bytes, but the file ends after {}: it is truncated; "
                    "download or save it again",
                    where, header_bytes, bytes.size() - 8));
  }
  const std::string_view text = bytes.substr(8, header_bytes);
  const auto fail = [&](const std::string& problem) {
    throw FormatError(fmt::format("{}: the safetensors header is broken: {}", where, problem));
  };
  if (const std::size_t bad = core::find_invalid_utf8(text); bad != std::string_view::npos) {
    fail(fmt::format("it is not valid UTF-8 at byte {}", bad));
  }
  // nlohmann takes a NUL for the end of the text and skips a byte order mark.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos)
    fail(fmt::format("a NUL at byte {}", nul));
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) fail("it is empty");
  if (text[first] != '{')
    fail(fmt::format("it begins with '{}' instead of an object", printable(text.substr(first), 12)));

  HeaderReader reader(where, text);
  core::Json::sax_parse(text.begin(), text.end(), &reader);
  SafetensorsHeader header = reader.take();
  header.data_start = 8 + header_bytes;
  refuse_equal_names(header, where);
  check_layout(header, bytes.size() - header.data_start, where);
  return header;
}

}  // namespace lowrank::formats
