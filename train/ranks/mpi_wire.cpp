#include <algorithm>
#include <array>
#include <deque>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/core/module.h"
#include "lowrank/train/ranks/mpi_module.h"
#include "lowrank/train/ranks/wire.h"

namespace lowrank::train {
namespace {

// Asked again at once for so many times, then after ever longer sleeps: ranks may share their cores.
constexpr int kEager = 200;
constexpr auto kShortest = std::chrono::microseconds(20), kLongest = std::chrono::microseconds(1000);

class Mpi : public MpiWire {
 public:
  explicit Mpi(const LowrankMpi* mpi) : mpi_(mpi) { must(mpi_->start(&rank_, &ranks_), "MPI did not start"); }
  std::string name() const override { return mpi_->library; }
  int rank() const override { return rank_; }
  int ranks() const override { return ranks_; }

  void move(const std::vector<Transfer>& transfers, Watch& watch) override {
    wait(begin(transfers), [&] { watch.check(); });
  }

  std::string from_first(const std::string& own, Clock::time_point deadline) override {
    std::array<char, 4096> text{};
    std::vector<Transfer> transfers;
    if (rank_ == 0) {
      std::copy_n(own.begin(), std::min(own.size(), text.size() - 1), text.begin());
      for (int r = 1; r < ranks_; ++r) transfers.push_back({r, true, text.data(), text.size()});
    } else {
      transfers.push_back({0, false, text.data(), text.size()});
    }
    wait(begin(transfers), [&] {
      if (Clock::now() > deadline) throw RankLost("the ranks did not all come to MPI in time");
    });
    return text.data();
  }

  void leave() override { must(mpi_->stop(), "MPI did not end well"); }

 private:
  void must(int error, const char* what) const {
    if (error == 0) return;
    std::array<char, 256> text{};
    mpi_->text(error, text.data(), text.size());
    throw IoError(std::string(what) + ": " + text.data());
  }

  std::vector<void*> begin(const std::vector<Transfer>& transfers) const {
    std::vector<void*> requests;
    for (const Transfer& one : transfers) {
      for (std::size_t done = 0; done < one.count; done += LOWRANK_MPI_MOST_BYTES) {
        const std::size_t count = std::min(LOWRANK_MPI_MOST_BYTES, one.count - done);
        requests.push_back(nullptr);
        must(one.send ? mpi_->send(one.bytes + done, count, one.peer, &requests.back())
                      : mpi_->receive(one.bytes + done, count, one.peer, &requests.back()),
             "MPI did not take a message");
      }
    }
    return requests;
  }

  /// `look` may throw: the requests are then left to a library that is not used again.
  template <typename Look>
  void wait(std::vector<void*> requests, const Look& look) const {
    auto sleep = std::chrono::duration_cast<std::chrono::microseconds>(kShortest);
    for (int asked = 0; !requests.empty(); ++asked) {
      std::erase_if(requests, [&](void*& request) {
        int ended = 0;
        must(mpi_->test(&request, &ended), "a message between ranks was lost");
        return ended != 0;
      });
      if (asked < kEager || requests.empty()) continue;
      look();
      std::this_thread::sleep_for(sleep);
      sleep = std::min<std::chrono::microseconds>(2 * sleep, kLongest);
    }
  }

  const LowrankMpi* mpi_;
  int rank_ = 0, ranks_ = 1;
};

}  // namespace

std::unique_ptr<MpiWire> mpi_wire() {
  // Open MPI loads parts of its own, which look for its symbols everywhere.
  const auto* mpi = core::loaded_module<LowrankMpi>({"MPI", "lowrank_mpi.so", "LOWRANK_MPI", true}, "lowrank_mpi", LOWRANK_MPI_MODULE_VERSION);
  return mpi == nullptr ? nullptr : std::make_unique<Mpi>(mpi);
}

}  // namespace lowrank::train
