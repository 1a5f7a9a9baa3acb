#include "lowrank/data/place.h"

#include <charconv>
#include <string_view>

namespace lowrank::data {
namespace {

constexpr std::string_view kLine = " line ", kRow = " row ";
constexpr std::int64_t kMost = std::int64_t{1} << 60;

std::string_view words(Place::Unit unit) { return unit == Place::Unit::kLine ? kLine : kRow; }

}  // namespace

std::string Place::text() const {
  if (name_ == nullptr) return "";
  if (unit() == Unit::kNone) return *name_;
  return *name_ + std::string(words(unit())) + std::to_string(number());
}

Place Place::like(const Place& before, const std::string& text) {
  for (const Unit unit : {Unit::kLine, Unit::kRow}) {
    const std::size_t at = text.rfind(words(unit));
    if (at == text.npos) continue;
    const char* const first = text.data() + at + words(unit).size();
    const char* const end = text.data() + text.size();
    std::int64_t number = 0;
    const auto [stop, error] = std::from_chars(first, end, number);
    // A number that is written otherwise ("07") is part of the name.
    if (error != std::errc() || stop != end || number < 0 || number >= kMost || std::to_string(number) != first) continue;
    const std::string_view file(text.data(), at);
    if (before.name_ != nullptr && file == *before.name_) return {before.name_, unit, number};
    return {std::make_shared<const std::string>(file), unit, number};
  }
  return text;
}

}  // namespace lowrank::data
