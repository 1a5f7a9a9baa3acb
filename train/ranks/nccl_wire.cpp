#include <algorithm>
#include <array>
#include <memory>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/core/module.h"
#include "lowrank/train/ranks/nccl_module.h"
#include "lowrank/train/ranks/wire.h"

namespace lowrank::train {
namespace {

// Asked again at once for so many times, then after sleeps: what is sent takes milliseconds.
constexpr int kEager = 200;
constexpr auto kSleep = std::chrono::microseconds(100);

constexpr const char* kNotStarted = "NCCL did not start";

struct Stop {
  const LowrankNccl* nccl = nullptr;
  int abort = 1;
  void operator()(void* group) const { nccl->stop(group, abort); }
};
using Group = std::unique_ptr<void, Stop>;

class Nccl : public Wire {
 public:
  Nccl(const LowrankNccl* nccl, const std::string& id, int rank, int ranks, at::Device device, Watch& watch) : nccl_(nccl) {
    void* group = nullptr;
    const int error = nccl_->start(id.data(), rank, ranks, device.index(), &group);
    group_ = Group(group, Stop{nccl_, /*abort=*/1});
    must(error, kNotStarted);
    wait(watch, kNotStarted);
  }

  std::string name() const override { return nccl_->library; }

  void move(const std::vector<Transfer>& transfers, Watch& watch) override {
    must(nccl_->open(group_.get()));
    for (const Transfer& one : transfers) {
      if (one.count == 0) continue;
      must(one.send ? nccl_->send(group_.get(), one.bytes, one.count, one.peer)
                    : nccl_->receive(group_.get(), one.bytes, one.count, one.peer));
    }
    must(nccl_->close(group_.get()));
    wait(watch, "a sum between GPUs was lost");
  }

  void leave() override {
    group_.get_deleter().abort = 0;
    group_.reset();
  }

 private:
  std::string words(int error) const {
    std::array<char, 512> text{};
    nccl_->text(group_.get(), error, text.data(), text.size());
    return text.data();
  }
  void must(int error, const char* what = "NCCL did not take a message") const {
    if (error != 0) throw IoError(std::string(what) + ": " + words(error));
  }
  void wait(Watch& watch, const char* what) {
    for (int asked = 0;; ++asked) {
      int ended = 0;
      if (const int error = nccl_->ended(group_.get(), &ended); error != 0) {
        watch.check();  // why a rank is not there is said better by who watches it
        must(error, what);
      }
      if (ended != 0) return;
      if (asked < kEager) continue;
      watch.check();
      std::this_thread::sleep_for(kSleep);
    }
  }

  const LowrankNccl* nccl_;
  Group group_;
};

/// This build's, where it can be loaded; else null, and why.
const LowrankNccl* loaded_nccl(std::string& why) {
  try {
    const auto* nccl = core::loaded_module<LowrankNccl>({"NCCL", "lowrank_nccl.so", "LOWRANK_NCCL"}, "lowrank_nccl", LOWRANK_NCCL_MODULE_VERSION);
    if (nccl == nullptr) why = "this build has no lowrank_nccl.so";
    return nccl;
  } catch (const IoError& error) {
    why = error.what();
    return nullptr;
  }
}

}  // namespace

std::unique_ptr<Wire> nccl_wire(GradSync& ranks, at::Device device, const std::string& machine, Watch& watch, const LowrankNccl* nccl,
                                std::string& why) {
  if (nccl == nullptr) nccl = loaded_nccl(why);
  std::array<char, 64> bus{};
  if (nccl != nullptr && nccl->name_device(device.index(), bus.data(), bus.size()) != 0) {
    why = "CUDA does not tell which device " + device.str() + " is";
    nccl = nullptr;
  }
  // What each rank gives: its GPU, or why it has no NCCL.
  const std::vector<std::string> all = ranks.gather(nccl != nullptr ? machine + " " + bus.data() : "-" + why);
  for (std::size_t r = 0; r < all.size(); ++r) {
    if (all[r].starts_with('-')) {
      why = ranks.name(static_cast<int>(r)) + ": " + all[r].substr(1);
      return nullptr;
    }
    const auto same = std::find(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(r), all[r]) - all.begin();
    if (same < static_cast<std::ptrdiff_t>(r)) {  // which NCCL refuses
      why = ranks.name(static_cast<int>(same)) + " and " + ranks.name(static_cast<int>(r)) + " share a GPU";
      return nullptr;
    }
  }
  std::string id(LOWRANK_NCCL_ID_BYTES, '\0');
  const int error = ranks.rank() == 0 ? nccl->make_id(id.data()) : 0;
  id = from_first(ranks, error == 0 ? id : "");
  if (id.empty()) {
    why = "NCCL does not start on " + ranks.name(0);
    return nullptr;
  }
  return std::make_unique<Nccl>(nccl, id, ranks.rank(), ranks.ranks(), device, watch);
}

}  // namespace lowrank::train
