#include "device/memory.h"

#include <c10/util/Exception.h>
#include <execinfo.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace test_device {
namespace {

constexpr std::size_t kArenaBytes = std::size_t{1} << 38;  // of addresses, not of memory

std::atomic<const char*> last_operator{"none"};
std::atomic<std::uintptr_t> arena_begin{0};
struct sigaction handler_before;

struct Block {
  std::size_t bytes;
  int openings;
};

// Addresses are handed out in turn from one reserved range; blocks of several threads' kernels may be open at once.
class Arena {
 public:
  void* allocate(std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t whole = (bytes + page - 1) / page * page;
    if (next_ == nullptr) {
      void* const begin = mmap(nullptr, kArenaBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      TORCH_CHECK(begin != MAP_FAILED, "test device: its range of addresses could not be reserved");
      next_ = static_cast<char*>(begin);
      end_ = next_ + kArenaBytes;
      arena_begin = reinterpret_cast<std::uintptr_t>(begin);
    }
    TORCH_CHECK(whole <= static_cast<std::size_t>(end_ - next_), "test device: out of addresses");
    void* const block = next_;
    next_ += whole;
    blocks_[block] = {whole, 0};
    return block;
  }

  void free(void* begin) {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.extract(begin);
    // A fresh mapping gives the memory back and lets the kernel join the range with its closed neighbours.
    mmap(begin, block.mapped().bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  }

  /// The block that this address lies in, by its beginning.
  const void* open(const void* address) {
    const std::lock_guard lock(mutex_);
    auto& [begin, block] = holding(address);
    if (block.openings++ == 0) protect(begin, block, PROT_READ | PROT_WRITE);
    return begin;
  }

  void close(const void* begin) {
    const std::lock_guard lock(mutex_);
    const auto found = blocks_.find(const_cast<void*>(begin));
    if (found == blocks_.end()) return;  // freed by the kernel that had it open
    if (--found->second.openings == 0) protect(begin, found->second, PROT_NONE);
  }

 private:
  std::pair<void* const, Block>& holding(const void* address) {
    const auto after = blocks_.upper_bound(const_cast<void*>(address));
    TORCH_CHECK(after != blocks_.begin(), "test device: an address before all of its memory");
    return *std::prev(after);
  }

  static void protect(const void* begin, const Block& block, int access) {
    TORCH_CHECK(mprotect(const_cast<void*>(begin), block.bytes, access) == 0,
                "test device: mprotect failed: ", std::strerror(errno));
  }

  std::mutex mutex_;
  char* next_ = nullptr;
  char* end_ = nullptr;
  std::map<void*, Block> blocks_;
};

// Lives as long as the program: tensors of static storage may be freed after any destructor.
Arena& arena() {
  static Arena* const instance = new Arena;
  return *instance;
}

class ProtectedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    const c10::Device device(c10::DeviceType::PrivateUse1, 0);
    if (bytes == 0) return {nullptr, device};
    void* const block = arena().allocate(bytes);
    return {block, block, &free_block, device};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &free_block; }

  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    Opening opening;
    opening.add(to);
    opening.add(from);
    std::memcpy(to, from, bytes);
  }

 private:
  static void free_block(void* block) { arena().free(block); }
};

void report_touch(int signal, siginfo_t* info, void*) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const std::uintptr_t begin = arena_begin;
  if (begin == 0 || address < begin || address >= begin + kArenaBytes) {
    sigaction(signal, &handler_before, nullptr);  // another's fault: it happens again on return
    return;
  }
  char text[256];
  const int length =
      std::snprintf(text, sizeof text, "host code touched device memory at %p; the device's last operator was %s\n",
                    info->si_addr, last_operator.load());
  if (write(STDERR_FILENO, text, static_cast<std::size_t>(length)) < 0) std::abort();
  void* frames[64];
  backtrace_symbols_fd(frames, backtrace(frames, 64), STDERR_FILENO);
  std::abort();
}

}  // namespace

c10::Allocator& allocator() {
  static ProtectedAllocator* const instance = new ProtectedAllocator;
  return *instance;
}

void report_touches() {
  struct sigaction now;
  sigaction(SIGSEGV, nullptr, &now);
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == &report_touch) return;
  struct sigaction ours = {};
  ours.sa_sigaction = &report_touch;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGSEGV, &ours, &handler_before);
}

void note_operator(const char* name) { last_operator = name; }

Opening::~Opening() {
  for (const void* const block : blocks_) arena().close(block);
}

void Opening::add(const void* address) {
  if (address == nullptr) return;
  blocks_.push_back(arena().open(address));
}

}  // namespace test_device
