#include "lowrank/train/ranks/rank_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "lowrank/core/error.h"
#include "lowrank/kernels/aten.h"
#include "lowrank/kernels/device.h"
#include "lowrank/kernels/host.h"
#include "lowrank/train/ranks/meeting.h"
#include "lowrank/train/ranks/shares.h"

namespace lowrank::train {
namespace {

constexpr std::size_t kWindow = std::size_t{16} << 20;  // floats of a sum that are under way at a time: 64 MB more

/// The beginning of every message of gather(): a text that is short goes with it.
struct Block {
  std::uint64_t call = 0, size = 0;
  std::array<char, 240> text{};
};

std::string to_bytes(const StepTotals& totals) {
  std::string bytes;
  const auto add = [&](const auto& value) { bytes.append(reinterpret_cast<const char*>(&value), sizeof(value)); };
  add(totals.loss);
  add(totals.count);
  add(totals.tokens);
  for (const auto& [name, value] : totals.metrics) {
    add(static_cast<std::uint32_t>(name.size()));
    bytes += name;
    add(value);
  }
  return bytes;
}

StepTotals totals_from(const std::string& bytes) {
  StepTotals totals;
  std::size_t at = 0;
  const auto take = [&](void* to, std::size_t count) {
    if (count > bytes.size() - at) throw InternalError("the totals of a rank are cut short");
    std::memcpy(to, bytes.data() + at, count);
    at += count;
  };
  take(&totals.loss, sizeof(totals.loss));
  take(&totals.count, sizeof(totals.count));
  take(&totals.tokens, sizeof(totals.tokens));
  while (at < bytes.size()) {
    std::uint32_t size = 0;
    take(&size, sizeof(size));
    std::string name(std::min<std::size_t>(size, bytes.size() - at), '\0');
    take(name.data(), name.size());
    take(&totals.metrics[name], sizeof(double));
  }
  return totals;
}

/// Floats that one rank's part of a window takes from all ranks.
std::size_t scratch_size(std::size_t count, std::size_t ranks) { return (std::min(count, kWindow) / ranks + 1) * ranks; }

double seconds_since(Clock::time_point start) { return Seconds(Clock::now() - start).count(); }

std::unique_ptr<RankGroup> watched(const Launch& launch, Met met, std::unique_ptr<Wire> wire, const JoinOptions& options) {
  auto watch = std::make_unique<Watch>(launch.rank, met.peers, std::move(met.control), options.timeout);
  return std::make_unique<RankGroup>(std::move(met.peers), launch.rank, std::move(wire), std::move(watch));
}

std::unique_ptr<RankGroup> join_over_tcp(const Launch& launch, const Place& place, const JoinOptions& options) {
  Met met = meet(launch, place, true, options.meet_within, options.timeout);
  auto wire = tcp_wire(std::move(met.data));
  return watched(launch, std::move(met), std::move(wire), options);
}

}  // namespace

RankGroup::RankGroup(std::vector<Peer> peers, int rank, std::unique_ptr<Wire> wire, std::unique_ptr<Watch> watch)
    : peers_(std::move(peers)), rank_(rank), local_rank_(ranks_before_here(peers_, rank)), wire_(std::move(wire)), watch_(std::move(watch)) {}

RankGroup::~RankGroup() = default;

std::vector<std::string> RankGroup::gather(const std::string& bytes) {
  watch_->check();
  const Clock::time_point began = Clock::now();
  Block own;
  own.call = ++calls_;
  own.size = bytes.size();
  std::copy_n(bytes.begin(), std::min(bytes.size(), own.text.size()), own.text.begin());
  std::vector<Block> blocks(peers_.size());
  std::vector<Transfer> transfers;
  for (int r = 0; r < ranks(); ++r) {
    if (r == rank_) continue;
    transfers.push_back({r, true, reinterpret_cast<char*>(&own), sizeof(Block)});
    transfers.push_back({r, false, reinterpret_cast<char*>(&blocks[static_cast<std::size_t>(r)]), sizeof(Block)});
  }
  wire_->move(transfers, *watch_);

  transfers.clear();
  std::vector<std::string> all(peers_.size());
  std::string rest = bytes.size() > own.text.size() ? bytes.substr(own.text.size()) : "";
  for (int r = 0; r < ranks(); ++r) {
    std::string& text = all[static_cast<std::size_t>(r)];
    if (r == rank_) {
      text = bytes;
      continue;
    }
    const Block& block = blocks[static_cast<std::size_t>(r)];
    if (block.call != own.call)
      throw InternalError(fmt::format("{} is at another place of the run than {}", name(r), name(rank_)));
    text.resize(block.size);
    const std::size_t here = std::min<std::size_t>(block.size, block.text.size());
    std::copy_n(block.text.begin(), here, text.begin());
    if (!rest.empty()) transfers.push_back({r, true, rest.data(), rest.size()});
    if (text.size() > here) transfers.push_back({r, false, text.data() + here, text.size() - here});
  }
  if (!transfers.empty()) wire_->move(transfers, *watch_);
  traffic_.wait_seconds += seconds_since(began);
  return all;
}

void RankGroup::sum(at::Tensor& gradients, StepTotals& totals) {
  const std::vector<std::string> all = gather(to_bytes(totals));  // waits for the slowest
  StepTotals sums = totals_from(all[0]);
  for (std::size_t r = 1; r < all.size(); ++r) {
    const StepTotals more = totals_from(all[r]);
    sums.loss += more.loss;
    sums.count += more.count;
    sums.tokens += more.tokens;
    for (const auto& [name, value] : more.metrics) sums.metrics[name] += value;
  }
  totals = sums;

  const Clock::time_point began = Clock::now();
  between_devices_ != nullptr ? sum_on_device(gradients) : sum_here(gradients);
  ++traffic_.sums;
  traffic_.sum_seconds += seconds_since(began);
}

void RankGroup::sum_here(at::Tensor& gradients) {
  std::vector<float> values = kernels::to_host<float>(gradients);
  scratch_.resize(scratch_size(values.size(), peers_.size()));
  const auto own = static_cast<std::size_t>(rank_);
  const auto add_up = [&](std::size_t begin, std::size_t size) {
    float* const sum = values.data() + begin;
    std::copy_n(sum, size, scratch_.data() + own * size);
    std::copy_n(scratch_.data(), size, sum);
    for (std::size_t r = 1; r < peers_.size(); ++r) {
      const float* more = scratch_.data() + r * size;
      for (std::size_t i = 0; i < size; ++i) sum[i] += more[i];
    }
  };
  reduce({*wire_, values.data(), scratch_.data(), add_up}, values.size());
  kernels::copy_from_host(gradients, std::span<const float>(values));
}

/// The same sums where the gradients lie, so the same bytes.
void RankGroup::sum_on_device(at::Tensor& gradients) {
  const auto count = static_cast<std::size_t>(gradients.numel());
  const at::Tensor values = gradients.view({-1});
  const at::Tensor scratch = kernels::aten::empty({static_cast<std::int64_t>(scratch_size(count, peers_.size()))}, values.options());
  const auto part = [](const at::Tensor& of, std::size_t begin, std::size_t size) {
    return of.narrow(0, static_cast<std::int64_t>(begin), static_cast<std::int64_t>(size));
  };
  const auto add_up = [&](std::size_t begin, std::size_t size) {
    const at::Tensor sum = part(values, begin, size);
    part(scratch, static_cast<std::size_t>(rank_) * size, size).copy_(sum);
    sum.copy_(part(scratch, 0, size));
    for (std::size_t r = 1; r < peers_.size(); ++r) sum.add_(part(scratch, r * size, size));
  };
  reduce({*between_devices_, kernels::device_address(values), kernels::device_address(scratch), add_up}, count);
}

/// In windows: each rank gets a part of the window from all others, adds it up in the order of the ranks, and gives them the
/// sum: about twice the window's bytes out of each rank and into it, for any number of ranks.
void RankGroup::reduce(const Ground& ground, std::size_t count) {
  const auto n = static_cast<std::size_t>(ranks()), own = static_cast<std::size_t>(rank_);
  const auto bytes = [](float* at) { return reinterpret_cast<char*>(at); };
  for (std::size_t first = 0; first < count; first += kWindow) {
    const std::size_t last = std::min(count, first + kWindow);
    const auto part = [&](std::size_t r) { return std::pair(first + (last - first) * r / n, first + (last - first) * (r + 1) / n); };
    const auto [begin, end] = part(own);
    const std::size_t size = end - begin;
    std::vector<Transfer> gets, gives;
    for (std::size_t r = 0; r < n; ++r) {
      if (r == own) continue;
      const auto [from, to] = part(r);
      const int peer = static_cast<int>(r);
      gets.push_back({peer, true, bytes(ground.values + from), (to - from) * sizeof(float)});
      gets.push_back({peer, false, bytes(ground.scratch + r * size), size * sizeof(float)});
      gives.push_back({peer, true, bytes(ground.values + begin), size * sizeof(float)});
      gives.push_back({peer, false, bytes(ground.values + from), (to - from) * sizeof(float)});
      traffic_.sum_bytes += static_cast<std::int64_t>((to - from + size) * sizeof(float));
    }
    ground.wire.move(gets, *watch_);
    ground.add_up(begin, size);
    ground.wire.move(gives, *watch_);
  }
}

std::string RankGroup::meet_on(at::Device device) {
  if (device.is_cpu() || ranks() == 1) return "";
  if (met_ && met_->first == device) return met_->second;  // a run after the other, in one process
  std::string why;
  const std::string& machine = peers_[static_cast<std::size_t>(rank_)].machine;
  between_devices_ = nccl_wire(*this, device, machine, *watch_, nccl_, why);
  met_ = {device, between_devices_ != nullptr ? between_devices_->name() + ", between the devices"
                                              : fmt::format("{}, through the machine's memory ({})", wire_->name(), why)};
  return met_->second;
}

bool RankGroup::on_one_machine() const { return ranks_here(peers_, rank_) == ranks(); }

std::unique_ptr<kernels::ShareExchange> RankGroup::exchange() { return share_exchange(*this, peers_, *watch_); }

core::Json RankGroup::traffic_json() const {
  const std::int64_t sums = std::max<std::int64_t>(1, traffic_.sums);
  return {{"ranks", ranks()},
          {"over", (between_devices_ != nullptr ? between_devices_.get() : wire_.get())->name()},
          {"bytes_sent_a_step", traffic_.sum_bytes / sums},
          {"seconds_summing", traffic_.sum_seconds},
          {"seconds_waiting", traffic_.wait_seconds}};
}

void RankGroup::leave() {
  if (between_devices_ != nullptr) between_devices_->leave();
  watch_->leave();
  wire_->leave();
}

bool RankGroup::fail(ErrorKind kind, const std::string& message) { return watch_->fail(kind, message); }

void RankGroup::outlived_by_first(double seconds) { watch_->outlived_by_first(seconds); }

std::unique_ptr<RankGroup> join(const Launch& launch, const JoinOptions& options) {
  std::unique_ptr<MpiWire> mpi = launch.engine == Engine::kMpi ? mpi_wire() : nullptr;
  if (mpi != nullptr) {
    if (mpi->ranks() != launch.ranks || mpi->rank() != launch.rank)
      throw ConfigError(fmt::format("{} started rank {} of {}, and MPI says {} of {}: lowrank_mpi.so is built with "
                                    "another MPI than that of the launcher; build it with that one",
                                    launch.by, launch.rank, launch.ranks, mpi->rank(), mpi->ranks()));
    Launch by_mpi = launch;
    by_mpi.host = own_addresses();
    const Place place{0, [&](const std::string& address) { mpi->from_first(address, after(options.meet_within)); },
                      [&](Clock::time_point deadline) { return mpi->from_first("", deadline); }};
    Met met = meet(by_mpi, place, false, options.meet_within, options.timeout);
    return watched(launch, std::move(met), std::move(mpi), options);
  }
  if (launch.host.empty())
    throw ConfigError(launch.by +
                      " started this process, and this build has no MPI: build it where MPI's headers are (on Debian "
                      "and Ubuntu: apt-get install libopenmpi-dev), or let the ranks meet over TCP with `mpirun -x "
                      "MASTER_ADDR=HOST -x MASTER_PORT=PORT`");
  return join_over_tcp(launch, place_of(launch), options);
}

std::unique_ptr<RankGroup> join_part(RankGroup& whole, const Launch& part, const JoinOptions& options) {
  // Every rank of the whole gathers once: who is the first of its part gives the port that it listens on.
  const Place place{0,
                    [&](const std::string& address) { whole.gather(address.substr(address.rfind(':') + 1)); },
                    [&](Clock::time_point) {
                      const auto first = static_cast<std::size_t>(part.first);
                      return whole.peers().at(first).address + ":" + whole.gather("").at(first);
                    }};
  std::unique_ptr<RankGroup> group = join_over_tcp(part, place, options);
  group->stand_at(whole.local_rank());
  return group;
}

}  // namespace lowrank::train
