// GradSync over processes: what a launcher started, met and watched over.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/train/grad_sync.h"
#include "lowrank/train/ranks/launch.h"
#include "lowrank/train/ranks/wire.h"

namespace lowrank::train {

struct JoinOptions {
  double timeout = 60;       // seconds without a sign of life after which a rank counts as hanging
  double meet_within = 300;  // seconds for all ranks to come
};

/// What went between this rank and the others.
struct Traffic {
  std::int64_t sums = 0, sum_bytes = 0;  // sums of gradients; bytes that this rank sent in them
  double sum_seconds = 0;                // in which they went, once all ranks were there
  double wait_seconds = 0;               // for others, and in everything small
};

class RankGroup : public GradSync {
 public:
  RankGroup(std::vector<Peer> peers, int rank, std::unique_ptr<Wire> wire, std::unique_ptr<Watch> watch);
  ~RankGroup() override;

  int rank() const override { return rank_; }
  int ranks() const override { return static_cast<int>(peers_.size()); }
  std::string name(int rank) const override { return peers_.at(static_cast<std::size_t>(rank)).name(); }
  void look() override { watch_->check(); }
  void sum(at::Tensor& gradients, StepTotals& totals) override;
  std::string meet_on(at::Device device) override;
  std::vector<std::string> gather(const std::string& bytes) override;
  int local_rank() const override { return local_rank_; }
  bool on_one_machine() const override;
  std::unique_ptr<kernels::ShareExchange> exchange() override;
  core::Json traffic_json() const override;

  /// The NCCL of meet_on(), instead of this build's module.
  void take_nccl(const LowrankNccl* nccl) { nccl_ = nccl; }
  /// Its place among the processes of its machine, where the group is a part of them.
  void stand_at(int local_rank) { local_rank_ = local_rank; }

  const std::vector<Peer>& peers() const { return peers_; }
  std::string engine() const { return wire_->name(); }
  const Traffic& traffic() const { return traffic_; }

  /// The end: this rank has done its work.
  void leave();
  /// This rank stops with an error, of which the others are told. Whether they know now.
  bool fail(ErrorKind kind, const std::string& message);
  /// Watch::outlived_by_first.
  void outlived_by_first(double seconds);

 private:
  /// Where a sum is made: in memory of the process, or of its device.
  struct Ground {
    Wire& wire;
    float *values, *scratch;  // addresses there; of scratch a window
    /// values[begin .. begin + size) become the sum over the ranks, in their order, of what lies one after the other in scratch;
    /// but for this rank's own part, which is among the values.
    std::function<void(std::size_t begin, std::size_t size)> add_up;
  };
  void sum_here(at::Tensor& gradients);
  void sum_on_device(at::Tensor& gradients);
  void reduce(const Ground& ground, std::size_t count);

  std::vector<Peer> peers_;
  int rank_, local_rank_;
  std::unique_ptr<Wire> wire_;
  std::unique_ptr<Watch> watch_;
  std::uint64_t calls_ = 0;
  Traffic traffic_;
  std::vector<float> scratch_;
  const LowrankNccl* nccl_ = nullptr;
  std::optional<std::pair<at::Device, std::string>> met_;  // meet_on(), and what it said
  std::unique_ptr<Wire> between_devices_;  // null: what lies on a device goes through the process's memory
};

/// Meets the other ranks of a launch. ConfigError, IoError, RankLost.
std::unique_ptr<RankGroup> join(const Launch& launch, const JoinOptions& options = {});
/// Meets the ranks of part_of(launch) over TCP, where `whole` has all of the launch: each of these calls it, and may leave
/// the whole then. The same errors.
std::unique_ptr<RankGroup> join_part(RankGroup& whole, const Launch& part, const JoinOptions& options = {});

}  // namespace lowrank::train
