#include "lowrank/lora/active_tokens.h"

#include <algorithm>

namespace lowrank::lora {

std::int64_t activated_from(const std::vector<std::int64_t>& invocation, const std::vector<std::int64_t>& sequence) {
  return std::find_end(sequence.begin(), sequence.end(), invocation.begin(), invocation.end()) - sequence.begin();
}

}  // namespace lowrank::lora
