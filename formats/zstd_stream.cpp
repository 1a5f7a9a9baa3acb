#include <zstd.h>

#include <string_view>
#include <utility>
#include <vector>

#include "lowrank/core/error.h"
#include "lowrank/formats/byte_stream_private.h"

namespace lowrank::formats {
namespace {

class ZstdBytes final : public ByteStream {
 public:
  ZstdBytes(std::unique_ptr<ByteStream> source, std::string name, const GrowthBudget& budget)
      : source_(std::move(source)), name_(std::move(name)), budget_(budget), input_(ZSTD_DStreamInSize()) {
    if (stream_ == nullptr) throw IoError(name_ + ": zstd could not be started");
  }
  ~ZstdBytes() override { ZSTD_freeDStream(stream_); }

  std::size_t read(std::span<char> into) override {
    ZSTD_outBuffer out{into.data(), into.size(), 0};
    while (out.pos == 0) {
      // What is left inside of the decoder comes before more is read.
      if (in_.pos == in_.size && !more_inside_ && !refill()) {
        if (wanted_ != 0) throw DataError(name_ + ": the zstd data ends too early; the file was cut off");
        break;
      }
      wanted_ = ZSTD_decompressStream(stream_, &out, &in_);
      if (ZSTD_isError(wanted_)) damaged();
      more_inside_ = out.pos == out.size;
    }
    produced_ += out.pos;
    check_growth(budget_, produced_, position(), name_);
    return out.pos;
  }

  std::uint64_t position() const override { return source_->position() - (in_.size - in_.pos); }
  std::string compression() const override { return "zstd"; }

 private:
  bool refill() {
    in_ = {input_.data(), source_->read(input_), 0};
    return in_.size > 0;
  }

  [[noreturn]] void damaged() const {
    const std::string_view problem = ZSTD_getErrorName(wanted_);
    if (problem.find("memory") != problem.npos) {
      throw DataError(name_ + ": its zstd window is larger than the 128 MB that are given to one; decompress it first");
    }
    throw DataError(name_ + ": the zstd data is damaged (" + std::string(problem) + ")");
  }

  std::unique_ptr<ByteStream> source_;
  std::string name_;
  GrowthBudget budget_;
  std::vector<char> input_;
  ZSTD_DStream* stream_ = ZSTD_createDStream();
  ZSTD_inBuffer in_{nullptr, 0, 0};
  std::size_t wanted_ = 0;  // by the decoder; 0: a frame is complete
  std::uint64_t produced_ = 0;
  bool more_inside_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> unzstd(std::unique_ptr<ByteStream> source, const std::string& name,
                                   const GrowthBudget& budget) {
  return std::make_unique<ZstdBytes>(std::move(source), name, budget);
}

}  // namespace lowrank::formats
