#include "lowrank/recipes/run/base_remarks.h"

#include <fmt/format.h>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

std::vector<std::string> base_remarks(const fs::path& adapter, const models::LoadedModel& model) {
  const fs::path file = adapter / "run.json";
  if (!fs::is_regular_file(file)) return {};
  core::Json json;
  try {
    json = core::read_json(file);
  } catch (const Error&) {
    return {};  // a report, which nothing goes by
  }
  const core::Json base = json.is_object() ? json.value("model", core::Json::object()) : core::Json::object();
  const auto number = [&](const char* key) {
    return base.is_object() && base.contains(key) && base[key].is_number_integer() ? base[key].get<std::int64_t>() : 0;
  };
  const std::int64_t parameters = number("parameters"), bytes = number("bytes");
  if (parameters <= 0 || bytes <= 0) return {};
  const auto own_bytes = static_cast<std::int64_t>(model.weights.total_bytes());
  const std::int64_t own = model.decoder->config().parameter_count();
  std::vector<std::string> remarks;
  if (own != parameters)
    remarks.push_back(fmt::format("the adapter was trained on a base of {} parameters, and this one has {}: its rows or "
                                  "layers are others",
                                  core::format_count(parameters), core::format_count(own)));
  else if (own_bytes != bytes)
    remarks.push_back(fmt::format("the adapter was trained on a base whose files have {:.3g} bytes a parameter, and this "
                                  "one's have {:.3g}: the values are kept in another type",
                                  static_cast<double>(bytes) / static_cast<double>(parameters),
                                  static_cast<double>(own_bytes) / static_cast<double>(own)));
  return remarks;
}

}  // namespace lowrank::recipes
