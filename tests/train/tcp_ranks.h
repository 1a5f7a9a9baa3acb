// Ranks as threads of one process that meet over TCP, and what they sum.
#pragma once

#include <torch/utils.h>

#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "lowrank/core/random.h"
#include "lowrank/train/ranks/meeting.h"
#include "lowrank/train/ranks/rank_group.h"

namespace lowrank_test {

namespace train = lowrank::train;

inline int free_port() { return train::port_of(train::listen_on(0)); }

inline train::Launch by_hand(int rank, int ranks, int port) {
  train::Launch launch;
  launch.rank = rank;
  launch.ranks = ranks;
  launch.host = "localhost";
  launch.port = port;
  return launch;
}

/// `work` of each rank in a thread, over TCP; the first rank's error is thrown.
inline void over_tcp(int ranks, const std::function<void(train::RankGroup&)>& work, double timeout = 20) {
  const int port = free_port();
  std::vector<std::thread> threads;
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      try {
        const auto group = train::join(by_hand(r, ranks, port), {timeout, 20});
        work(*group);
        group->leave();
      } catch (...) {
        errors[static_cast<std::size_t>(r)] = std::current_exception();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

/// Gradients whose sum depends on its order.
inline at::Tensor gradients_of(int rank, std::int64_t n) {
  const lowrank::core::RandomStream random(11, "gradients");
  std::vector<float> values(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<float>((random.uniform(i, static_cast<std::uint64_t>(rank)) - 0.5) * (rank == 1 ? 1e6 : 1));
  return torch::tensor(values);
}

inline train::StepTotals totals_of(int rank) {
  return {0.1 * (rank + 1), 3 + rank, 100, {{"accuracy", 0.25 * rank}, {rank == 1 ? "only on 1" : "on others", 1.0}}};
}

}  // namespace lowrank_test
