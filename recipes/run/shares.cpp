#include "lowrank/recipes/run/shares.h"

#include <fmt/format.h>

#include "lowrank/core/text.h"

namespace lowrank::recipes {

void check_shares(const Fields& fields, const std::string& when, const std::string& base_dtype, at::Device device,
                  const train::GradSync& sync) {
  if (when == "off") return;
  if (sync.ranks() == 1)
    fields.fail("shard-base", "shares a base out over several processes, and this run has one; start more, or leave it out");
  if (base_dtype != "auto")
    fields.fail("shard-base", "is for a base as its files have it, and `base-dtype` keeps it in codes; give one of them");
  if (!device.is_cpu()) fields.fail("shard-base", "keeps shares in the machine's memory; leave it out");
}

std::shared_ptr<kernels::ShardedBase> shares_among(train::GradSync& sync, const std::string& when,
                                                   std::vector<std::pair<std::string, std::string>>& remarks) {
  if (when == "off") return nullptr;
  if (when == "auto" && sync.on_one_machine()) {
    remarks.emplace_back("base", fmt::format("not shared out: the {} ranks stand on one machine, and share its mapped files "
                                             "(`shard-base` always shares it out there too)",
                                             sync.ranks()));
    return nullptr;
  }
  return std::make_shared<kernels::ShardedBase>(sync.exchange());
}

std::pair<std::string, std::string> describe(const kernels::ShardedBase& shares, const train::GradSync& sync) {
  const auto bytes = [](std::int64_t n) { return core::format_bytes(static_cast<std::uint64_t>(n)); };
  return {"base", fmt::format("shared out over {} ranks: {} of {} are kept here, and {} at a time come from the others as "
                              "they are used",
                              sync.ranks(), bytes(shares.held_bytes()), bytes(shares.total_bytes()),
                              bytes(shares.buffer_bytes()))};
}

void part(kernels::ShardedBase* shares, train::GradSync& sync) {
  if (shares == nullptr) return;
  shares->rest();
  train::together(sync, [] {});
}

}  // namespace lowrank::recipes
