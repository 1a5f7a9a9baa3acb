// Memory for panels: grown as needed, kept by its thread from one product to the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

namespace lowrank::kernels::gemm {

/// Uninitialised floats on cache lines.
class Floats {
 public:
  Floats() = default;
  explicit Floats(std::int64_t count) { reserve(count); }
  float* data() const { return data_.get(); }
  std::int64_t capacity() const { return capacity_; }
  /// Room for so many; what was there is lost where it grows.
  float* reserve(std::int64_t count) {
    if (count > capacity_) {
      data_.reset();
      data_.reset(static_cast<float*>(::operator new(static_cast<std::size_t>(count) * sizeof(float), kAlignment)));
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(float* memory) const { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<float, Free> data_;
  std::int64_t capacity_ = 0;
};

/// What a thread keeps for one purpose.
enum class Purpose : std::int8_t { kLeft, kRight, kSums, kRows, kOther, kCount };
inline float* scratch(Purpose purpose, std::int64_t count) {
  static thread_local Floats buffers[static_cast<int>(Purpose::kCount)];
  return buffers[static_cast<int>(purpose)].reserve(count);
}

}  // namespace lowrank::kernels::gemm
