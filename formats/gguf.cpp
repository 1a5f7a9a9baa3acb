#include "lowrank/formats/gguf.h"

#include <fmt/format.h>

#include <bit>
#include <type_traits>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/text.h"

namespace lowrank::formats {

namespace {

constexpr std::uint64_t kAlignment = 32;  // of tensor data; the format's own where general.alignment is not given
constexpr std::size_t kLongestGgufName = 63;
constexpr std::size_t kMostExtents = 4;

// The numbers of the types of values.
template <typename T>
constexpr std::uint32_t value_type() {
  if constexpr (std::is_same_v<T, std::uint32_t>) return 4;
  if constexpr (std::is_same_v<T, std::int32_t>) return 5;
  if constexpr (std::is_same_v<T, float>) return 6;
  if constexpr (std::is_same_v<T, bool>) return 7;
  if constexpr (std::is_same_v<T, std::string>) return 8;
  return 9;  // an array
}

std::uint64_t padding(std::uint64_t at) { return (kAlignment - at % kAlignment) % kAlignment; }

/// Little-endian bytes.
class Bytes {
 public:
  template <typename T>
  void put(T value) {
    if constexpr (std::is_same_v<T, float>) {
      put(std::bit_cast<std::uint32_t>(value));
    } else if constexpr (std::is_same_v<T, bool>) {
      text_ += static_cast<char>(value ? 1 : 0);
    } else {
      for (std::size_t shift = 0; shift < 8 * sizeof(T); shift += 8)
        text_ += static_cast<char>(static_cast<std::make_unsigned_t<T>>(value) >> shift & 0xFF);
    }
  }
  void put(const std::string& value) {
    put(static_cast<std::uint64_t>(value.size()));
    text_ += value;
  }
  void put_value(const GgufValue& value) {
    std::visit(
        [&](const auto& one) {
          using T = std::decay_t<decltype(one)>;
          put(value_type<T>());
          put_payload(one);
        },
        value);
  }
  void pad() { text_.append(padding(text_.size()), '\0'); }
  const std::string& text() const { return text_; }

 private:
  template <typename T>
  void put_payload(const T& one) {
    put(one);
  }
  template <typename T>
  void put_payload(const std::vector<T>& all) {
    put(value_type<T>());
    put(static_cast<std::uint64_t>(all.size()));
    for (const T& one : all) put(one);
  }

  std::string text_;
};

}  // namespace

void write_gguf(const std::filesystem::path& destination, const GgufValues& values,
                const std::vector<GgufTensor>& tensors) {
  const auto fail = [&](const GgufTensor& tensor, const std::string& problem) {
    throw InternalError(
        fmt::format("cannot write {}: the tensor '{}' {}", destination.string(), core::printable(tensor.name), problem));
  };
  Bytes head;
  for (const char letter : {'G', 'G', 'U', 'F'}) head.put(static_cast<std::uint8_t>(letter));
  head.put(std::uint32_t{3});
  head.put(static_cast<std::uint64_t>(tensors.size()));
  head.put(static_cast<std::uint64_t>(values.size()));
  for (const auto& [key, value] : values) {
    head.put(key);
    head.put_value(value);
  }
  std::uint64_t offset = 0;
  for (const GgufTensor& tensor : tensors) {
    if (tensor.name.size() > kLongestGgufName) fail(tensor, fmt::format("has a name of more than {} bytes", kLongestGgufName));
    if (tensor.shape.empty() || tensor.shape.size() > kMostExtents)
      fail(tensor, fmt::format("has {} extents; 1 to {} can be written", tensor.shape.size(), kMostExtents));
    head.put(tensor.name);
    head.put(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent)
      head.put(static_cast<std::uint64_t>(*extent));
    head.put(static_cast<std::uint32_t>(tensor.type));
    head.put(offset);
    offset += ggml_bytes(tensor.type, tensor.shape);
    offset += padding(offset);
  }
  head.pad();

  core::AtomicFile file(destination, head.text().size() + offset);
  file.write(head.text());
  for (const GgufTensor& tensor : tensors) {
    const std::uint64_t expected = ggml_bytes(tensor.type, tensor.shape);
    std::uint64_t written = 0;
    tensor.produce([&](std::span<const std::byte> bytes) {
      if (bytes.size() > expected - written) fail(tensor, fmt::format("has more than its {} bytes", expected));
      file.write(bytes);
      written += bytes.size();
    });
    if (written != expected) fail(tensor, fmt::format("has {} bytes instead of {}", written, expected));
    file.write(std::string(padding(written), '\0'));
  }
  file.commit();
}

}  // namespace lowrank::formats
