// Safetensors bytes with a header of any kind.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lowrank/formats/safetensors.h"

namespace lowrank_test {

inline std::string length_prefix(std::uint64_t n) {
  std::string out;
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>(n >> shift & 0xFF);
  return out;
}

inline std::string raw_safetensors(const std::string& header, std::size_t data_bytes) {
  std::string data;
  for (std::size_t i = 0; i < data_bytes; ++i) data += static_cast<char>(i % 251);
  return length_prefix(header.size()) + header + data;
}

inline lowrank::formats::SafetensorsHeader parse_raw(const std::string& file) {
  return lowrank::formats::parse_safetensors(std::as_bytes(std::span(file)), "x.safetensors");
}

/// Tensors of one byte an element, named in order.
inline std::string small_safetensors(const std::vector<std::string>& names) {
  std::string header = "{";
  for (std::size_t i = 0; i < names.size(); ++i) {
    header += (i == 0 ? "\"" : ",\"") + names[i] + "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[" +
              std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  }
  return raw_safetensors(header + "}", names.size());
}

}  // namespace lowrank_test
