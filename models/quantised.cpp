#include "lowrank/models/quantised.h"

#include <fmt/format.h>

#include <string>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::models {
namespace {

// "gptq, 4 bits", "bitsandbytes, nf4".
std::string described(const core::JsonView& how) {
  if (!how.is_object()) return "in a way of its own";
  std::string method = how.has_value("quant_method") && how.at("quant_method").is_string()
                           ? how.at("quant_method").as_string()
                           : "by no named method";
  const auto flag = [&](const char* key) {
    return how.has_value(key) && how.at(key).is_bool() && how.at(key).raw().get<bool>();
  };
  if (flag("load_in_4bit"))
    method += how.has_value("bnb_4bit_quant_type") && how.at("bnb_4bit_quant_type").is_string()
                  ? ", " + how.at("bnb_4bit_quant_type").as_string()
                  : ", 4 bits";
  if (flag("load_in_8bit")) method += ", int8";
  for (const char* key : {"bits", "w_bit"})
    if (how.has_value(key) && how.at(key).raw().is_number_integer())
      method += fmt::format(", {} bits", how.at(key).raw().get<std::int64_t>());
  return core::printable(method, 80);
}

}  // namespace

void refuse_quantised(const core::JsonView& config, const std::string& key) {
  const core::JsonView how = config.at(key);
  std::string made_of;
  if (config.has_value("_name_or_path") && config.at("_name_or_path").is_string())
    made_of = config.at("_name_or_path").as_string();
  throw ModelError(fmt::format(
      "{}: the weights are quantised ({}), and adapters are trained on, and merged into, weights as they were published: "
      "download the repository that this one was made of ({}), in bfloat16, float16 or float32; of quantised weights only "
      "gpt-oss's mxfp4 are read",
      how.where(), described(how),
      made_of.empty() ? "its card names it as base_model" : "config.json was made from '" + core::printable(made_of, 120) + "'"));
}

}  // namespace lowrank::models
