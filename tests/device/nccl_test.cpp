// Sums between devices: the calls that NCCL gets, by an NCCL of the tests' own that moves bytes between the tests' devices.
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <tuple>

#include "device/device.h"
#include "device/memory.h"
#include "lowrank/core/error.h"
#include "lowrank/kernels/host.h"
#include "lowrank/train/ranks/nccl_module.h"
#include "train/memory_ranks.h"
#include "train/message.h"
#include "train/tcp_ranks.h"

using namespace lowrank;
using namespace lowrank_test;

namespace fake_nccl {
namespace {

/// A communicator: what one rank is about to move, by its id.
struct Side {
  std::string id;
  int rank = 0;
  bool open = false;
  std::vector<std::tuple<const void*, std::size_t, int>> sends;
  std::vector<std::tuple<void*, std::size_t, int>> receives;
};

std::mutex mutex;
int ids = 0, sides = 0, closes = 0, devices = 0;
std::map<std::tuple<std::string, int, int>, std::deque<std::string>> mail;  // by id, from, to
bool breaks = false, shared = false;

constexpr int kBroken = 3;

int name_device(int /*device*/, char* to, size_t room) {
  const std::lock_guard<std::mutex> lock(mutex);
  std::snprintf(to, room, "bus %d", shared ? 0 : ++devices);
  return 0;
}

int make_id(char* id) {
  const std::lock_guard<std::mutex> lock(mutex);
  std::snprintf(id, LOWRANK_NCCL_ID_BYTES, "id %d", ++ids);
  return 0;
}
int start(const char* id, int rank, int /*ranks*/, int /*device*/, void** group) {
  const std::lock_guard<std::mutex> lock(mutex);
  ++sides;
  *group = new Side{std::string(id, LOWRANK_NCCL_ID_BYTES), rank, false, {}, {}};
  return 0;
}
int open(void* group) {
  auto* side = static_cast<Side*>(group);
  const bool nested = std::exchange(side->open, true);
  return nested || !side->receives.empty() ? kBroken : 0;
}
int send(void* group, const void* bytes, size_t count, int peer) {
  static_cast<Side*>(group)->sends.emplace_back(bytes, count, peer);
  return 0;
}
int receive(void* group, void* bytes, size_t count, int peer) {
  static_cast<Side*>(group)->receives.emplace_back(bytes, count, peer);
  return 0;
}
int close(void* group) {
  auto* side = static_cast<Side*>(group);
  if (!std::exchange(side->open, false)) return kBroken;
  const std::lock_guard<std::mutex> lock(mutex);
  ++closes;
  for (const auto& [bytes, count, peer] : side->sends) {
    test_device::Opening opened;
    opened.add(bytes);
    mail[{side->id, side->rank, peer}].emplace_back(static_cast<const char*>(bytes), count);
  }
  side->sends.clear();
  return 0;
}
int ended(void* group, int* ended) {
  auto* side = static_cast<Side*>(group);
  const std::lock_guard<std::mutex> lock(mutex);
  if (breaks) return kBroken;
  std::erase_if(side->receives, [&](const auto& receive) {
    const auto& [bytes, count, peer] = receive;
    std::deque<std::string>& queue = mail[{side->id, peer, side->rank}];
    if (queue.empty()) return false;
    if (queue.front().size() != count) throw std::logic_error("a message of another length");
    test_device::Opening opened;
    opened.add(bytes);
    std::memcpy(bytes, queue.front().data(), count);
    queue.pop_front();
    return true;
  });
  *ended = side->receives.empty() ? 1 : 0;
  return 0;
}
void stop(void* group, int /*abort*/) {
  const std::lock_guard<std::mutex> lock(mutex);
  --sides;
  delete static_cast<Side*>(group);
}
void text(void* /*group*/, int /*error*/, char* to, size_t room) { std::snprintf(to, room, "it is broken"); }

const LowrankNccl kModule = {LOWRANK_NCCL_MODULE_VERSION, "NCCL of the tests", name_device, make_id, start, open, send, receive, close, ended,
                             stop, text};

}  // namespace
}  // namespace fake_nccl

namespace {

std::vector<float> summed_on_devices(train::RankGroup& group, std::int64_t n, std::string* how = nullptr) {
  group.take_nccl(&fake_nccl::kModule);
  const std::string words = group.meet_on(test_device::device());
  if (how != nullptr) *how = words;
  if (group.meet_on(test_device::device()) != words) throw InternalError("other words the second time");
  at::Tensor gradients = gradients_of(group.rank(), n).to(test_device::device());
  train::StepTotals totals = totals_of(group.rank());
  group.sum(gradients, totals);
  return kernels::to_host<float>(gradients);
}

}  // namespace

TEST_CASE("gradients on devices are summed there to the bytes of sums on the CPU, and no host code touches them", "[unit]") {
  for (const int ranks : {2, 3}) {
    for (const std::int64_t n : {1, 2, 1000, 300'001}) {
      INFO(ranks << " ranks, " << n << " gradients");
      std::vector<float> expected;
      on_ranks(ranks, [&](train::GradSync& sync) {
        at::Tensor gradients = gradients_of(sync.rank(), n);
        train::StepTotals totals = totals_of(sync.rank());
        sync.sum(gradients, totals);
        if (sync.rank() == 0) expected = kernels::to_host<float>(gradients);
      });
      std::vector<std::vector<float>> found(static_cast<std::size_t>(ranks));
      fake_nccl::closes = 0;
      over_tcp(ranks, [&](train::RankGroup& group) {
        std::string how;
        found[static_cast<std::size_t>(group.rank())] = summed_on_devices(group, n, &how);
        if (how != "NCCL of the tests, between the devices") throw InternalError(how);
        if (group.traffic_json()["over"] != "NCCL of the tests") throw InternalError("run.json names another way");
      });
      for (const std::vector<float>& one : found) CHECK(one == expected);
      CHECK(fake_nccl::closes == 2 * ranks);
      CHECK(fake_nccl::sides == 0);
    }
  }
}

TEST_CASE("where two ranks share a GPU, or a rank has no NCCL, sums go through the machine's memory, and why is said", "[unit]") {
  std::string how, without;
  std::vector<float> through, between;
  fake_nccl::shared = true;
  over_tcp(2, [&](train::RankGroup& group) {
    const std::vector<float> sum = summed_on_devices(group, 1000, group.rank() == 1 ? &how : nullptr);
    if (group.rank() == 1) through = sum;
  });
  fake_nccl::shared = false;
  CHECK(how.starts_with("TCP, through the machine's memory (rank 0 ("));
  CHECK(how.find("share a GPU") != std::string::npos);
  over_tcp(2, [&](train::RankGroup& group) {
    if (group.rank() == 0) group.take_nccl(&fake_nccl::kModule);
    const std::string words = group.meet_on(test_device::device());
    if (group.rank() == 0) without = words;
    if (group.meet_on(at::kCPU) != "") throw InternalError("something is said of the CPU");
  });
  CHECK(without.find("rank 1 (") != std::string::npos);
  CHECK(without.find("has no lowrank_nccl.so") != std::string::npos);
  over_tcp(2, [&](train::RankGroup& group) {
    const std::vector<float> sum = summed_on_devices(group, 1000);
    if (group.rank() == 1) between = sum;
  });
  CHECK(through == between);
}

namespace {

/// What two ranks say whose `f` fails on an NCCL of the tests'.
template <typename F>
std::string message_on_two_ranks(const F& f) {
  const std::string message = message_of<Error>([&] {
    over_tcp(2, [&](train::RankGroup& group) {
      group.take_nccl(&fake_nccl::kModule);
      try {
        f(group);
      } catch (const Error& error) {
        group.fail(error.kind(), error.what());
        throw;
      }
    });
  });
  fake_nccl::breaks = false;
  CHECK(fake_nccl::sides == 0);
  return message;
}

}  // namespace

TEST_CASE("a sum that breaks between devices ends in a sentence on every rank", "[unit]") {
  const std::string message = message_on_two_ranks([](train::RankGroup& group) {
    group.meet_on(test_device::device());
    at::Tensor gradients = gradients_of(group.rank(), 10).to(test_device::device());
    train::StepTotals totals = totals_of(group.rank());
    group.gather("");
    fake_nccl::breaks = true;
    group.sum(gradients, totals);
  });
  CHECK(message.find("a sum between GPUs was lost: it is broken") != std::string::npos);
}

TEST_CASE("an NCCL that does not start ends in a sentence on every rank, and nothing of it stays", "[unit]") {
  fake_nccl::breaks = true;
  const std::string message = message_on_two_ranks([](train::RankGroup& group) { group.meet_on(test_device::device()); });
  CHECK(message.find("NCCL did not start: it is broken") != std::string::npos);
}
