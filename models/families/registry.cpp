#include <fmt/format.h>
#include <fmt/ranges.h>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/models/families/family.h"

namespace lowrank::models {

const std::vector<const Family*>& families() {
  static const std::vector<const Family*> all = {&gemma2_family(), &gpt2_family(),  &llama_family(), &mistral_family(),
                                                 &phi3_family(),   &qwen2_family(), &qwen3_family()};
  return all;
}

std::vector<std::string> known_model_types() {
  std::vector<std::string> names;
  for (const Family* family : families()) names.emplace_back(family->model_type);
  return names;
}

const Family& find_family(std::string_view model_type, std::string_view where) {
  for (const Family* family : families()) {
    if (family->model_type == model_type) return *family;
  }
  const std::vector<std::string> known = known_model_types();
  throw ModelError(fmt::format("{}: model_type '{}' is not supported{}; the known ones are {}", where,
                               core::printable(model_type), core::did_you_mean(model_type, known),
                               fmt::join(known, ", ")));
}

}  // namespace lowrank::models
