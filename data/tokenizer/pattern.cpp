#include "lowrank/data/tokenizer/pattern.h"

#include <algorithm>

namespace lowrank::data {

namespace {

struct Chunk {
  ByteRange span;
  bool match = false;
};

std::vector<Chunk> chunks_of(ByteRange whole, const std::vector<ByteRange>& matches, bool invert) {
  std::vector<Chunk> chunks;
  std::size_t at = whole.begin;
  for (const ByteRange& m : matches) {
    if (at < m.begin) chunks.push_back({{at, m.begin}, invert});
    chunks.push_back({m, !invert});
    at = m.end;
  }
  if (at < whole.end) chunks.push_back({{at, whole.end}, invert});
  return chunks;
}

}  // namespace

Pattern::Pattern(const core::JsonView& json) {
  if (json.has("String")) {
    literal_ = json.at("String").as_string();
    if (literal_.empty()) json.at("String").fail("an empty pattern, which matches between all characters");
  } else if (json.has("Regex")) {
    regex_.emplace(json.at("Regex").as_string(), json.where());
  } else {
    json.fail("expected {\"String\": ...} or {\"Regex\": ...}");
  }
}

void Pattern::find_all(std::string_view text, ByteRange within, std::vector<ByteRange>& matches) const {
  if (regex_) return regex_->find_all(text, within, matches);
  const std::string_view inside = text.substr(0, within.end);
  for (std::size_t at = inside.find(literal_, within.begin); at != std::string_view::npos;
       at = inside.find(literal_, at + literal_.size())) {
    matches.push_back({at, at + literal_.size()});
  }
}

std::string replaced(std::string_view text, const std::vector<ByteRange>& matches, std::string_view content) {
  std::string out;
  std::size_t at = 0;
  for (const ByteRange& m : matches) {
    out.append(text, at, m.begin - at).append(content);
    at = m.end;
  }
  return out.append(text, at);
}

SplitBehavior split_behavior(const core::JsonView& json) {
  const std::string name = json.as_string();
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  json.fail("expected Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous, found '" + name + "'");
}

void split(ByteRange whole, const std::vector<ByteRange>& matches, SplitBehavior behavior, bool invert,
           std::vector<ByteRange>& pieces) {
  std::vector<Chunk> chunks = chunks_of(whole, matches, invert);
  const std::size_t first = pieces.size();
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const Chunk& c : chunks) pieces.push_back(c.span);
      break;
    case SplitBehavior::kRemoved:
      for (const Chunk& c : chunks) {
        if (!c.match) pieces.push_back(c.span);
      }
      break;
    case SplitBehavior::kContiguous:
      for (const Chunk& c : chunks) {
        if (c.match == previous && pieces.size() > first) {
          pieces.back().end = c.span.end;
        } else {
          pieces.push_back(c.span);
        }
        previous = c.match;
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const Chunk& c : chunks) {
        if (c.match && !previous && pieces.size() > first) {
          pieces.back().end = c.span.end;
        } else {
          pieces.push_back(c.span);
        }
        previous = c.match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (auto c = chunks.rbegin(); c != chunks.rend(); ++c) {
        if (c->match && !previous && pieces.size() > first) {
          pieces.back().begin = c->span.begin;
        } else {
          pieces.push_back(c->span);
        }
        previous = c->match;
      }
      std::reverse(pieces.begin() + static_cast<std::ptrdiff_t>(first), pieces.end());
      break;
  }
}

}  // namespace lowrank::data
