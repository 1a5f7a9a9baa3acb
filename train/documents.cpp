#include "lowrank/train/documents.h"

#include <algorithm>
#include <vector>

namespace lowrank::train {

std::string documents_of(const data::Dataset& dataset, std::span<const std::uint32_t> examples) {
  constexpr std::size_t kNamed = 8;
  std::vector<std::string> names;
  for (const std::uint32_t i : examples) {
    const std::string name = dataset.documents.at(dataset.examples[i].document).where;
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kNamed); ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > kNamed) text += " and " + std::to_string(names.size() - kNamed) + " more";
  return text;
}

}  // namespace lowrank::train
