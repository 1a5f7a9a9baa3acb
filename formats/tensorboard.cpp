#include "lowrank/formats/tensorboard.h"

#include <array>
#include <bit>
#include <chrono>
#include <optional>

#include "lowrank/core/files.h"

namespace lowrank::formats {
namespace {

constexpr std::size_t kFrame = 8 + 4 + 4;  // length and its checksum before the data, the data's checksum after it

constexpr std::array<std::uint32_t, 256> make_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1) != 0 ? 0x82f63b78U ^ (value >> 1) : value >> 1;
    table[i] = value;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kTable = make_table();

template <typename Integer>
void append_little_endian(std::string& out, Integer value) {
  for (std::size_t i = 0; i < sizeof(Integer); ++i)
    out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

template <typename Integer>
Integer little_endian_at(std::string_view bytes, std::size_t at) {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value |= static_cast<Integer>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  return value;
}

// Protobuf: a field's key is its number and wire type (0 varint, 1 fixed 64, 2 length and bytes, 5 fixed 32).
void append_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_varint(out, static_cast<std::uint64_t>(field) << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

std::string event(double wall_time) {
  std::string out = "\x09";  // wall_time = 1, double
  append_little_endian(out, std::bit_cast<std::uint64_t>(wall_time));
  return out;
}

std::string framed(const std::string& data) {
  std::string out;
  append_little_endian(out, static_cast<std::uint64_t>(data.size()));
  append_little_endian(out, masked_crc32c(out));
  out += data;
  append_little_endian(out, masked_crc32c(data));
  return out;
}

/// The data of the record at bytes[at]; nothing where it is cut off or a checksum is wrong.
std::optional<std::string_view> record_at(std::string_view bytes, std::size_t at) {
  if (bytes.size() - at < kFrame) return std::nullopt;
  const std::string_view length = bytes.substr(at, 8);
  const auto size = little_endian_at<std::uint64_t>(bytes, at);
  if (little_endian_at<std::uint32_t>(bytes, at + 8) != masked_crc32c(length)) return std::nullopt;
  if (size > bytes.size() - at - kFrame) return std::nullopt;
  const std::string_view data = bytes.substr(at + 12, size);
  if (little_endian_at<std::uint32_t>(bytes, at + 12 + size) != masked_crc32c(data)) return std::nullopt;
  return data;
}

/// Event.step (field 2), which our events carry right behind the time; 0 where there is none.
std::int64_t step_of(std::string_view data) {
  std::uint64_t step = 0;
  if (data.size() < 10 || data[0] != '\x09' || data[9] != '\x10') return 0;
  for (std::size_t i = 10, shift = 0; i < data.size() && shift < 64; ++i, shift += 7) {
    step |= static_cast<std::uint64_t>(static_cast<unsigned char>(data[i]) & 0x7f) << shift;
    if ((static_cast<unsigned char>(data[i]) & 0x80) == 0) break;
  }
  return static_cast<std::int64_t>(step);
}

/// Bytes of the records that stay.
std::size_t kept_bytes(std::string_view bytes, std::int64_t last_step) {
  std::size_t at = 0;
  while (const auto data = record_at(bytes, at)) {
    if (step_of(*data) > last_step) break;
    at += kFrame + data->size();
  }
  return at;
}

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t value = 0xffffffffU;
  for (const char c : bytes) value = kTable[(value ^ static_cast<unsigned char>(c)) & 0xff] ^ (value >> 8);
  return value ^ 0xffffffffU;
}

std::uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xa282ead8U; }

std::string version_record(double wall_time) {
  std::string data = event(wall_time);
  append_bytes(data, 3, "brain.Event:2");
  return framed(data);
}

std::string scalar_record(double wall_time, std::int64_t step, const Scalars& scalars) {
  std::string data = event(wall_time);
  append_varint(data, 2 << 3);
  append_varint(data, static_cast<std::uint64_t>(step));
  std::string summary;
  for (const auto& [tag, number] : scalars) {
    std::string value;
    append_bytes(value, 1, tag);
    append_varint(value, 2 << 3 | 5);
    append_little_endian(value, std::bit_cast<std::uint32_t>(static_cast<float>(number)));
    append_bytes(summary, 1, value);
  }
  append_bytes(data, 5, summary);
  return framed(data);
}

EventFile::EventFile(const std::filesystem::path& file, std::int64_t last_step)
    : file_(file, last_step >= 0 && std::filesystem::exists(file) ? kept_bytes(core::read_file(file), last_step) : 0) {
  if (file_.bytes() == 0) file_.write(version_record(now()));
}

void EventFile::write(std::int64_t step, const Scalars& scalars) { file_.write(scalar_record(now(), step, scalars)); }

}  // namespace lowrank::formats
