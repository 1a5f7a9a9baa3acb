#include "lowrank/data/records.h"

#include <algorithm>

namespace lowrank::data {

Examples Examples::part(const std::vector<bool>& chosen) const {
  Examples part;
  if (stored_ == nullptr) {
    for (std::size_t i = 0; i < own_.size(); ++i) {
      if (chosen[i]) part.own_.push_back(own_[i]);
    }
    return part;
  }
  auto places = std::make_shared<std::vector<std::uint32_t>>();
  places->reserve(static_cast<std::size_t>(std::count(chosen.begin(), chosen.end(), true)));
  for (std::size_t i = 0; i < size(); ++i) {
    if (chosen[i]) places->push_back(static_cast<std::uint32_t>(place(i)));
  }
  part.stored_ = stored_;
  part.chosen_ = std::move(places);
  return part;
}

}  // namespace lowrank::data
