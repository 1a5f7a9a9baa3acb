#include "lowrank/formats/weight_index.h"

#include <fmt/format.h>

#include "lowrank/core/json.h"
#include "lowrank/core/text.h"

namespace lowrank::formats {

namespace {

using core::printable;

bool is_plain_name(const std::string& name) {
  static constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find_first_not_of(kAllowed) == std::string::npos;
}

}  // namespace

std::map<std::string, std::string> parse_weight_index(std::string_view json, const std::string& where) {
  const core::Json document = core::parse_json(json, where, {.max_depth = 16, .max_bytes = 200'000'000});
  const core::JsonView map = core::JsonView(document, where).at("weight_map");
  if (!map.is_object()) map.fail("expected an object from tensor names to file names");
  if (map.size() == 0) map.fail("names no tensors");
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, value] : map.raw().get_ref<const core::Json::object_t&>()) {
    if (!value.is_string()) map.fail(fmt::format("the shard of '{}' is not a string", printable(tensor)));
    const std::string& shard = value.get_ref<const std::string&>();
    if (!is_plain_name(shard)) {
      map.fail(fmt::format("the shard of '{}' is '{}', which is no plain file name of letters, digits and ._-",
                           printable(tensor), printable(shard)));
    }
    shard_of.emplace(tensor, shard);
  }
  return shard_of;
}

}  // namespace lowrank::formats
