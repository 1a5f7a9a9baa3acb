#include "lowrank/formats/byte_stream.h"

#include <unistd.h>

#include <array>
#include <string_view>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/system.h"
#include "lowrank/core/text.h"
#include "lowrank/formats/byte_stream_private.h"

namespace lowrank::formats {
namespace {

using namespace std::string_view_literals;

class FileBytes final : public ByteStream {
 public:
  explicit FileBytes(const core::FileRef& file) : file_(file.path()), fd_(core::open_regular(file)) {}

  std::size_t read(std::span<char> into) override {
    const ssize_t n = core::uninterrupted([&] { return ::read(fd_.get(), into.data(), into.size()); });
    if (n < 0) core::throw_errno("read", file_, errno);
    position_ += static_cast<std::uint64_t>(n);
    return static_cast<std::size_t>(n);
  }

  std::uint64_t position() const override { return position_; }

  /// The first bytes, which are still to be read.
  std::string head() const {
    std::array<char, 4> bytes{};
    const ssize_t n = core::uninterrupted([&] { return ::pread(fd_.get(), bytes.data(), bytes.size(), 0); });
    if (n < 0) core::throw_errno("read", file_, errno);
    return {bytes.data(), static_cast<std::size_t>(n)};
  }

 private:
  std::filesystem::path file_;
  core::Descriptor fd_;
  std::uint64_t position_ = 0;
};

}  // namespace

void check_growth(const GrowthBudget& budget, std::uint64_t produced, std::uint64_t consumed, const std::string& name) {
  if (produced <= budget.base || (produced - budget.base) / budget.factor <= consumed) return;
  throw DataError(name + ": " + core::format_bytes(consumed) + " of it grew to more than " +
                  core::format_bytes(produced) + ", as no text does (at most " + core::format_bytes(budget.base) +
                  " and " + std::to_string(budget.factor) +
                  " times its bytes are read); decompress it first if it is to be read nevertheless");
}

std::unique_ptr<ByteStream> open_bytes(const core::FileRef& file, const std::string& name,
                                       const GrowthBudget& budget) {
  auto bytes = std::make_unique<FileBytes>(file);
  const std::string head = bytes->head();
  if (head.starts_with("\x1f\x8b"sv)) return gunzip(std::move(bytes), name, budget);
  if (head.starts_with("\x28\xb5\x2f\xfd"sv)) return unzstd(std::move(bytes), name, budget);
  return bytes;
}

}  // namespace lowrank::formats
