#include "lowrank/data/tokenizer/charsmap.h"

#include <cstring>

#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/base64.h"
#include "lowrank/data/tokenizer/graphemes.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

constexpr std::size_t kMaxClusterBytes = 5;

}  // namespace

Charsmap::Charsmap(const core::JsonView& base64) {
  const std::string bytes = decode_base64(base64);
  std::uint32_t size = 0;
  if (bytes.size() < 4) base64.fail("too short to be a charsmap");
  std::memcpy(&size, bytes.data(), 4);  // all machines that this runs on are little-endian, as the file is
  if (size % 4 != 0 || size < 4 || size > bytes.size() - 4)
    base64.fail("the charsmap's trie is larger than the charsmap");
  units_.resize(size / 4);
  std::memcpy(units_.data(), bytes.data() + 4, size);
  texts_ = bytes.substr(4 + size);
  if (core::find_invalid_utf8(texts_) != std::string_view::npos) base64.fail("the charsmap's texts are not UTF-8");
}

std::optional<std::string_view> Charsmap::find(std::string_view key) const {
  const auto offset = [](std::uint32_t unit) { return unit >> 10 << ((unit & 0x200) >> 6); };
  std::size_t at = offset(units_[0]);
  for (const char c : key) {
    at ^= static_cast<unsigned char>(c);
    if (at >= units_.size()) return std::nullopt;
    const std::uint32_t unit = units_[at];
    if ((unit & 0x800000FF) != static_cast<unsigned char>(c)) return std::nullopt;
    at ^= offset(unit);
    if ((unit & 0x100) == 0) continue;  // no key ends here
    if (at >= units_.size()) return std::nullopt;
    const std::size_t begin = units_[at] & 0x7FFFFFFF;
    if (begin > texts_.size()) return std::nullopt;
    const auto end = texts_.find('\0', begin);
    return std::string_view(texts_).substr(begin, end == std::string::npos ? end : end - begin);
  }
  return std::nullopt;
}

std::string Charsmap::apply(std::string_view text, std::size_t most) const {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size() && out.size() <= most;) {
    const std::size_t end = grapheme_end(text, at);
    const std::string_view cluster = text.substr(at, end - at);
    at = end;
    if (cluster.size() <= kMaxClusterBytes) {
      if (const auto instead = find(cluster)) {
        out += *instead;
        continue;
      }
    }
    for (std::size_t i = 0; i < cluster.size();) {
      const std::size_t begin = i;
      next_character(cluster, i);
      const std::string_view character = cluster.substr(begin, i - begin);
      out += find(character).value_or(character);
    }
  }
  return out;
}

}  // namespace lowrank::data
