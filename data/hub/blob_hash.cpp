#include "lowrank/data/hub/blob_hash.h"

#include <string>

namespace lowrank::data::hub {

core::Digest blob_hash(bool large, std::uint64_t size) {
  core::Digest digest(large ? core::DigestKind::kSha256 : core::DigestKind::kSha1);
  if (!large) digest.add("blob " + std::to_string(size) + std::string(1, '\0'));
  return digest;
}

}  // namespace lowrank::data::hub
