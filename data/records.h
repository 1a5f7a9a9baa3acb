// The examples and the documents of a data set: lists that are held in memory, or that lie in the token cache and are read
// where they lie. An item is had by value, which copies no tokens; what changes a list holds it in memory first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "lowrank/data/token_storage.h"

namespace lowrank::data {

/// What both lists have of a vector. `List` says its size() and its item().
template <class List, class Item>
class RecordList {
 public:
  using value_type = Item;

  class Iterator {
   public:
    using iterator_category = std::random_access_iterator_tag;
    using value_type = Item;
    using difference_type = std::ptrdiff_t;
    using reference = const Item;
    using pointer = void;

    Iterator() = default;
    Iterator(const List* list, std::size_t at) : list_(list), at_(at) {}
    const Item operator*() const { return list_->item(at_); }
    const Item operator[](difference_type by) const { return *(*this + by); }
    Iterator& operator+=(difference_type by) {
      at_ += static_cast<std::size_t>(by);
      return *this;
    }
    Iterator& operator-=(difference_type by) { return *this += -by; }
    Iterator& operator++() { return *this += 1; }
    Iterator& operator--() { return *this += -1; }
    Iterator operator++(int) { return std::exchange(*this, *this + 1); }
    Iterator operator--(int) { return std::exchange(*this, *this - 1); }
    friend Iterator operator+(Iterator at, difference_type by) { return at += by; }
    friend Iterator operator+(difference_type by, Iterator at) { return at += by; }
    friend Iterator operator-(Iterator at, difference_type by) { return at -= by; }
    friend difference_type operator-(Iterator a, Iterator b) {
      return static_cast<difference_type>(a.at_) - static_cast<difference_type>(b.at_);
    }
    friend bool operator==(Iterator a, Iterator b) { return a.at_ == b.at_; }
    friend auto operator<=>(Iterator a, Iterator b) { return a.at_ <=> b.at_; }

   private:
    const List* list_ = nullptr;
    std::size_t at_ = 0;
  };
  using const_iterator = Iterator;

  bool empty() const { return self().size() == 0; }
  Iterator begin() const { return {&self(), 0}; }
  Iterator end() const { return {&self(), self().size()}; }
  // Const, so that nobody takes what changes such a copy for what changes the list.
  const Item operator[](std::size_t i) const { return self().item(i); }
  const Item at(std::size_t i) const {
    if (i >= self().size()) throw std::out_of_range("RecordList::at");
    return self().item(i);
  }
  const Item front() const { return at(0); }
  const Item back() const { return at(self().size() - 1); }

  /// All of it in memory, to be changed.
  std::vector<Item>& own() {
    if (stored_ != nullptr) {
      own_ = std::vector<Item>(begin(), end());
      stored_ = nullptr;
    }
    return own_;
  }
  void push_back(Item item) { own().push_back(std::move(item)); }
  Item& emplace_back() { return own().emplace_back(); }
  void resize(std::size_t size) { own().resize(size); }

 protected:
  RecordList() = default;
  explicit RecordList(std::vector<Item> items) : own_(std::move(items)) {}
  explicit RecordList(std::shared_ptr<const TokenStorage> stored) : stored_(std::move(stored)) {}

  std::vector<Item> own_;
  std::shared_ptr<const TokenStorage> stored_;  // null: what is held in memory is all

 private:
  const List& self() const { return static_cast<const List&>(*this); }
};

class Documents : public RecordList<Documents, Document> {
 public:
  Documents() = default;
  Documents(std::vector<Document> documents) : RecordList(std::move(documents)) {}  // NOLINT: a vector is one
  explicit Documents(std::shared_ptr<const TokenStorage> stored) : RecordList(std::move(stored)) {}

  std::size_t size() const { return stored_ != nullptr ? stored_->documents().size() : own_.size(); }
  Document item(std::size_t i) const { return stored_ != nullptr ? stored_->document(i) : own_[i]; }
  /// Of item(i), in as little time as it takes to read it.
  bool duplicate(std::size_t i) const {
    return stored_ != nullptr ? stored_->documents()[i].duplicate != 0 : own_[i].duplicate;
  }
};

class Examples : public RecordList<Examples, Example> {
 public:
  Examples() = default;
  Examples(std::vector<Example> examples) : RecordList(std::move(examples)) {}          // NOLINT: a vector is one
  Examples(std::initializer_list<Example> examples) : RecordList(std::vector(examples)) {}
  explicit Examples(std::shared_ptr<const TokenStorage> stored) : RecordList(std::move(stored)) {}

  std::size_t size() const {
    if (stored_ == nullptr) return own_.size();
    return chosen_ != nullptr ? chosen_->size() : stored_->examples();
  }
  Example item(std::size_t i) const { return stored_ != nullptr ? stored_->example(place(i)) : own_[i]; }
  /// Of item(i), in as little time as it takes to read it: a data set has millions.
  std::size_t length(std::size_t i) const { return stored_ != nullptr ? record(i).length : own_[i].ids.size(); }
  std::uint32_t document(std::size_t i) const { return stored_ != nullptr ? record(i).document : own_[i].document; }
  std::uint32_t cut(std::size_t i) const { return stored_ != nullptr ? record(i).cut : own_[i].cut; }
  std::int64_t counted(std::size_t i) const { return stored_ != nullptr ? std::int64_t{record(i).counted} : own_[i].counted(); }

  /// Those that are `chosen`, where they lie.
  Examples part(const std::vector<bool>& chosen) const;
  bool in_memory() const { return stored_ == nullptr; }

 private:
  std::size_t place(std::size_t i) const { return chosen_ != nullptr ? (*chosen_)[i] : i; }
  const StoredExample& record(std::size_t i) const { return stored_->record(place(i)); }

  std::shared_ptr<const std::vector<std::uint32_t>> chosen_;  // of the stored ones; null: all
};

}  // namespace lowrank::data
