// Numbers in a row that are owned, as a vector's are, or that lie in memory which somebody else keeps (a mapped file).
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace lowrank::data {

/// Reads as a const std::vector does; what changes it makes it own a copy first. 24 bytes, and what it owns.
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
  Values(std::initializer_list<T> values) : own_(std::make_unique<std::vector<T>>(values)) {}
  Values(std::vector<T> values)  // NOLINT: a vector is one
      : own_(std::make_unique<std::vector<T>>(std::move(values))) {}
  /// `data` must stay where it is for as long as this, or a copy of it, is read.
  static Values view(const T* data, std::size_t size) {
    Values values;
    values.view_ = data;
    values.viewed_ = size;
    return values;
  }
  Values(const Values& other) : view_(other.view_), viewed_(other.viewed_) {
    if (other.own_) own_ = std::make_unique<std::vector<T>>(*other.own_);
  }
  Values(Values&&) noexcept = default;
  Values& operator=(const Values& other) {
    if (this != &other) *this = Values(other);
    return *this;
  }
  Values& operator=(Values&&) noexcept = default;
  ~Values() = default;

  const T* data() const { return own_ ? own_->data() : view_; }
  std::size_t size() const { return own_ ? own_->size() : viewed_; }
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
    if (!own_) own_ = std::make_unique<std::vector<T>>(view_, view_ + viewed_);
    return *own_;
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
  std::unique_ptr<std::vector<T>> own_;
  const T* view_ = nullptr;
  std::size_t viewed_ = 0;
};

}  // namespace lowrank::data
