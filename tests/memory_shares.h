// Ranks that hold a base together as objects of one process: who asks reads what the others hold.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/kernels/sharded_base.h"

namespace lowrank_test {

class MemoryShares : public lowrank::kernels::ShareExchange {
 public:
  struct Shared {
    explicit Shared(int ranks) : held(static_cast<std::size_t>(ranks)) {}
    std::vector<Held> held;  // by rank
    int lost = -1;           // a rank that is no longer there
  };
  MemoryShares(std::shared_ptr<Shared> shared, int rank) : shared_(std::move(shared)), rank_(rank) {}
  int rank() const override { return rank_; }
  int ranks() const override { return static_cast<int>(shared_->held.size()); }
  void open(Held held) override { shared_->held[static_cast<std::size_t>(rank_)] = std::move(held); }
  void fetch(const std::vector<std::vector<lowrank::kernels::WantedRows>>& by_rank) override {
    for (std::size_t r = 0; r < by_rank.size(); ++r) {
      for (const auto& rows : by_rank[r]) {
        if (static_cast<int>(r) == shared_->lost) throw lowrank::IoError("rank " + std::to_string(r) + " is lost");
        const auto bytes = shared_->held[r](rows.weight, rows.first, rows.count);
        if (bytes.size() != rows.bytes) throw lowrank::InternalError("other bytes than were asked for");
        std::memcpy(rows.to, bytes.data(), bytes.size());
      }
    }
  }

 private:
  std::shared_ptr<Shared> shared_;
  int rank_;
};

/// The bases of so many ranks, none of them opened.
struct SharesOfRanks {
  explicit SharesOfRanks(int ranks) : shared(std::make_shared<MemoryShares::Shared>(ranks)) {
    for (int r = 0; r < ranks; ++r)
      bases.push_back(std::make_shared<lowrank::kernels::ShardedBase>(std::make_unique<MemoryShares>(shared, r)));
  }
  std::shared_ptr<MemoryShares::Shared> shared;
  std::vector<std::shared_ptr<lowrank::kernels::ShardedBase>> bases;
};

}  // namespace lowrank_test
