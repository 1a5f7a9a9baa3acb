// Where something stands in what was read, for messages.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace lowrank::data {

/// "corpus/a.txt" or "train.jsonl line 12". A data set has millions of them, which share the names of their files.
class Place {
 public:
  enum class Unit : std::uint8_t { kNone, kLine, kRow };

  Place() = default;
  Place(std::string name) : name_(std::make_shared<const std::string>(std::move(name))) {}  // NOLINT: a text is one
  Place(const char* name) : Place(std::string(name)) {}                                    // NOLINT
  Place(std::shared_ptr<const std::string> file, Unit unit, std::int64_t number)
      : name_(std::move(file)), place_(number * 4 + static_cast<std::int64_t>(unit)) {}
  /// The same as `text`, with the name of the file shared with `before` where it is the same.
  static Place like(const Place& before, const std::string& text);

  std::string text() const;
  operator std::string() const { return text(); }  // NOLINT: it is one
  friend bool operator==(const Place& place, const std::string& text) { return place.text() == text; }
  /// The text up to " line 12"; null for none.
  const std::shared_ptr<const std::string>& file() const { return name_; }
  Unit unit() const { return static_cast<Unit>(place_ & 3); }
  std::int64_t number() const { return place_ >> 2; }

 private:
  std::shared_ptr<const std::string> name_;
  std::int64_t place_ = 0;  // the unit in its last two bits
};

}  // namespace lowrank::data
