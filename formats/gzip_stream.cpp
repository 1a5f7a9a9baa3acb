#include <zlib.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/formats/byte_stream_private.h"

namespace lowrank::formats {
namespace {

class GzipBytes final : public ByteStream {
 public:
  GzipBytes(std::unique_ptr<ByteStream> source, std::string name, const GrowthBudget& budget)
      : source_(std::move(source)), name_(std::move(name)), budget_(budget), input_(std::size_t{1} << 16) {
    if (inflateInit2(&z_, MAX_WBITS + 16) != Z_OK) throw IoError(name_ + ": zlib could not be started");
  }
  ~GzipBytes() override { inflateEnd(&z_); }

  std::size_t read(std::span<char> into) override {
    z_.next_out = reinterpret_cast<Bytef*>(into.data());
    z_.avail_out = static_cast<uInt>(std::min<std::size_t>(into.size(), std::numeric_limits<uInt>::max()));
    const uInt room = z_.avail_out;
    while (z_.avail_out == room && !ended_) {
      if (z_.avail_in == 0 && !refill()) {
        if (!between_) throw DataError(name_ + ": the gzip data ends too early; the file was cut off");
        ended_ = true;
        break;
      }
      if (between_) next_member();
      if (ended_ || between_) continue;
      const int result = inflate(&z_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        between_ = true;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        throw DataError(name_ + ": the gzip data is damaged (" + (z_.msg != nullptr ? z_.msg : "zlib's checks fail") +
                        ")");
      }
    }
    produced_ += room - z_.avail_out;
    check_growth(budget_, produced_, position(), name_);
    return room - z_.avail_out;
  }

  std::uint64_t position() const override { return source_->position() - z_.avail_in; }
  std::string compression() const override { return "gzip"; }

 private:
  bool refill() {
    z_.next_in = reinterpret_cast<Bytef*>(input_.data());
    z_.avail_in = static_cast<uInt>(source_->read(input_));
    return z_.avail_in > 0;
  }

  /// After a member: another one, or the zeros that tapes end with.
  void next_member() {
    while (z_.avail_in > 0 && *z_.next_in == 0) {
      ++z_.next_in;
      --z_.avail_in;
    }
    if (z_.avail_in == 0) return;
    if (*z_.next_in != 0x1f) throw DataError(name_ + ": other bytes follow the gzip data");
    inflateReset(&z_);
    between_ = false;
  }

  std::unique_ptr<ByteStream> source_;
  std::string name_;
  GrowthBudget budget_;
  std::vector<char> input_;
  z_stream z_{};
  std::uint64_t produced_ = 0;
  bool between_ = false, ended_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> gunzip(std::unique_ptr<ByteStream> source, const std::string& name,
                                   const GrowthBudget& budget) {
  return std::make_unique<GzipBytes>(std::move(source), name, budget);
}

}  // namespace lowrank::formats
