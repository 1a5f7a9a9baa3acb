#include "lowrank/data/tokenizer/character_set.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

namespace lowrank::data {

namespace {

// Where each set begins (or ends) to contain characters: a walk over all characters, boundary by boundary.
struct Boundary {
  char32_t at;
  std::size_t set;
};

std::vector<Boundary> boundaries(std::span<const CharacterSet> sets) {
  std::vector<Boundary> out;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    for (const auto& range : sets[i].ranges()) {
      out.push_back({range.first, i});
      if (range.last < kLastCharacter) out.push_back({range.last + 1, i});
    }
  }
  std::sort(out.begin(), out.end(), [](const Boundary& a, const Boundary& b) { return a.at < b.at; });
  return out;
}

// Calls visit(first, in) for each stretch of characters that are in the same sets; in[i]: whether set i has them.
template <class Visit>
void walk(std::span<const CharacterSet> sets, const Visit& visit) {
  const auto all = boundaries(sets);
  std::vector<bool> in(sets.size(), false);
  std::size_t next = 0;
  for (char32_t at = 0;;) {
    for (; next < all.size() && all[next].at == at; ++next) in[all[next].set] = !in[all[next].set];
    visit(at, in);
    if (next == all.size()) return;
    at = all[next].at;
  }
}

// The set of the characters for which keep(in the first, in the second).
template <class Keep>
CharacterSet combined(const CharacterSet& a, const CharacterSet& b, const Keep& keep) {
  const std::array<CharacterSet, 2> both = {a, b};
  std::vector<CharacterSet::Range> out;
  bool open = false;
  walk(both, [&](char32_t first, const std::vector<bool>& in) {
    const bool now = keep(in[0], in[1]);
    if (now && !open) out.push_back({first, kLastCharacter});
    if (!now && open) out.back().last = first - 1;
    open = now;
  });
  return CharacterSet::of(std::move(out));
}

}  // namespace

CharacterSet CharacterSet::of(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.first < b.first; });
  CharacterSet out;
  for (const Range& r : ranges) {
    if (!out.ranges_.empty() && r.first <= out.ranges_.back().last + 1) {
      out.ranges_.back().last = std::max(out.ranges_.back().last, r.last);
    } else {
      out.ranges_.push_back(r);
    }
  }
  return out;
}

bool CharacterSet::contains(char32_t c) const {
  const auto it = std::upper_bound(ranges_.begin(), ranges_.end(), c,
                                   [](char32_t value, const Range& range) { return value < range.first; });
  return it != ranges_.begin() && c <= std::prev(it)->last;
}

CharacterSet CharacterSet::operator|(const CharacterSet& other) const {
  return combined(*this, other, [](bool a, bool b) { return a || b; });
}

CharacterSet CharacterSet::operator&(const CharacterSet& other) const {
  return combined(*this, other, [](bool a, bool b) { return a && b; });
}

CharacterSet CharacterSet::operator^(const CharacterSet& other) const {
  return combined(*this, other, [](bool a, bool b) { return a != b; });
}

CharacterSet CharacterSet::operator~() const { return *this ^ CharacterSet(0, kLastCharacter); }

std::vector<CharacterRun> character_runs(std::span<const std::uint32_t> packed) {
  std::vector<CharacterRun> out;
  for (const std::uint32_t run : packed) out.push_back({run >> 8, static_cast<std::uint8_t>(run & 0xFF)});
  return out;
}

CharacterMap::CharacterMap(std::span<const CharacterRun> runs) : blocks_((kLastCharacter >> 8) + 1) {
  std::map<std::uint8_t, std::uint16_t> uniform;  // blocks of one value, by it
  std::size_t run = 0;
  for (std::size_t block = 0; block < blocks_.size(); ++block) {
    const auto begin = static_cast<char32_t>(block << 8);
    const char32_t end = begin + 0x100;
    while (run + 1 < runs.size() && runs[run + 1].first <= begin) ++run;
    const bool is_uniform = run + 1 == runs.size() || runs[run + 1].first >= end;
    const auto place = static_cast<std::uint16_t>(values_.size() >> 8);
    if (is_uniform) {
      const auto [it, is_new] = uniform.try_emplace(runs[run].value, place);
      blocks_[block] = it->second;
      if (is_new) values_.insert(values_.end(), 0x100, runs[run].value);
      continue;
    }
    blocks_[block] = place;
    for (char32_t c = begin; c < end; ++c) {
      while (run + 1 < runs.size() && runs[run + 1].first <= c) ++run;
      values_.push_back(runs[run].value);
    }
  }
}

CharacterMap membership(std::span<const CharacterSet> sets) {
  std::vector<CharacterRun> runs;
  walk(sets, [&](char32_t first, const std::vector<bool>& in) {
    std::uint8_t value = 0;
    for (std::size_t i = 0; i < in.size(); ++i) value = static_cast<std::uint8_t>(value | (in[i] ? 1u << i : 0u));
    runs.push_back({first, value});
  });
  return CharacterMap(runs);
}

CharacterClasses classes_of(std::span<const CharacterSet> sets, std::size_t limit) {
  CharacterClasses out;
  std::map<std::vector<bool>, std::uint8_t> numbers;
  bool too_many = false;
  out.classes_of.resize(sets.size());
  walk(sets, [&](char32_t first, const std::vector<bool>& in) {
    if (too_many) return;
    const auto [it, is_new] = numbers.try_emplace(in, static_cast<std::uint8_t>(numbers.size()));
    too_many = numbers.size() > limit;
    if (is_new) {
      for (std::size_t i = 0; i < in.size(); ++i) {
        if (in[i]) out.classes_of[i].push_back(it->second);
      }
    }
    out.runs.push_back({first, it->second});
  });
  if (too_many) out.runs.clear();
  return out;
}

}  // namespace lowrank::data
