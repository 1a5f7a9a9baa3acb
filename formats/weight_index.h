// model.safetensors.index.json: which shard holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace lowrank::formats {

/// Tensor name -> shard's file name. FormatError naming `where` unless weight_map is an object, not empty, of strings
/// that are plain file names (letters, digits and ._-, no separators), no tensor in it twice.
std::map<std::string, std::string> parse_weight_index(std::string_view json, const std::string& where);

}  // namespace lowrank::formats
