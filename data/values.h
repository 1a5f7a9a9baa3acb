// Numbers in a row that are owned, as a vector's are, or that lie in memory which somebody else keeps (a mapped file).
// Copies share what is owned until one of them is changed.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

namespace lowrank::data {

/// Reads as a const std::vector does; what changes it makes it own a copy first, where it does not own its numbers alone.
/// 16 bytes, and what it owns: a data set has millions.
template <class T>
class Values {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using iterator = T*;
  using const_iterator = const T*;

  Values() = default;
  Values(std::initializer_list<T> values) : Values(std::vector<T>(values)) {}
  Values(std::vector<T> values)  // NOLINT: a vector is one
      : what_(new Shared{std::move(values)}), viewed_(kOwned) {}
  /// `data` must stay where it is for as long as this, or a copy of it, is read.
  static Values view(const T* data, std::size_t size) {
    Values values;
    values.what_ = data;
    values.viewed_ = size;
    return values;
  }
  Values(const Values& other) : what_(other.what_), viewed_(other.viewed_) {
    if (owns()) shared().holders.fetch_add(1, std::memory_order_relaxed);
  }
  Values(Values&& other) noexcept : what_(std::exchange(other.what_, nullptr)), viewed_(std::exchange(other.viewed_, 0)) {}
  Values& operator=(Values other) noexcept {
    std::swap(what_, other.what_);
    std::swap(viewed_, other.viewed_);
    return *this;
  }
  ~Values() {
    if (owns() && shared().holders.fetch_sub(1, std::memory_order_acq_rel) == 1) delete &shared();
  }

  const T* data() const { return owns() ? owned().data() : static_cast<const T*>(what_); }
  std::size_t size() const { return owns() ? owned().size() : viewed_; }
  bool empty() const { return size() == 0; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size(); }
  const T& operator[](std::size_t i) const { return data()[i]; }
  const T& front() const { return *begin(); }
  const T& back() const { return end()[-1]; }
  std::reverse_iterator<const T*> rbegin() const { return std::make_reverse_iterator(end()); }
  std::reverse_iterator<const T*> rend() const { return std::make_reverse_iterator(begin()); }
  operator std::vector<T>() const { return {begin(), end()}; }  // NOLINT: a vector of what it holds

  /// What it owns, to be changed.
  std::vector<T>& own() {
    if (!owns() || shared().holders.load(std::memory_order_acquire) > 1) *this = Values(std::vector<T>(data(), data() + size()));
    return owned();
  }
  T* begin() { return own().data(); }
  T* end() { return own().data() + own().size(); }
  T& operator[](std::size_t i) { return own()[i]; }
  void push_back(T value) { own().push_back(value); }
  void resize(std::size_t size, T value = T()) { own().resize(size, value); }
  void assign(std::size_t size, T value) { own().assign(size, value); }
  template <class It, class = typename std::iterator_traits<It>::iterator_category>
  void assign(It first, It last) {
    own().assign(first, last);
  }
  /// Before `at`, which lies in this.
  template <class It>
  void insert(const T* at, It first, It last) {
    const std::ptrdiff_t place = at - std::as_const(*this).begin();
    own().insert(own().begin() + place, first, last);
  }

  friend bool operator==(const Values& a, const Values& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  static constexpr std::size_t kOwned = ~std::size_t{0};

  struct Shared {
    std::vector<T> values;
    std::atomic<std::size_t> holders{1};
  };

  bool owns() const { return viewed_ == kOwned; }
  Shared& shared() const { return *static_cast<Shared*>(const_cast<void*>(what_)); }
  std::vector<T>& owned() const { return shared().values; }

  const void* what_ = nullptr;  // what it owns, or the first number of somebody else's
  std::size_t viewed_ = 0;      // kOwned, or how many those are
};

}  // namespace lowrank::data
