#include "lowrank/data/chat/token_mask.h"

#include <algorithm>
#include <string>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/tokenizer/byte_level.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {
namespace {

enum class Spelling { kByteLevel, kSentencePiece };

std::string spelled(const std::string& token, Spelling spelling) {
  if (spelling == Spelling::kByteLevel) return byte_level_bytes(token).value_or(token);
  std::string out;
  static constexpr std::string_view kSpace = "\xE2\x96\x81";
  for (std::size_t at = 0; at < token.size();) {
    const bool is_space = std::string_view(token).substr(at).starts_with(kSpace);
    out += is_space ? ' ' : token[at];
    at += is_space ? kSpace.size() : 1;
  }
  return out;
}

std::optional<std::vector<std::size_t>> aligned(const Tokenizer& tokenizer, std::string_view text,
                                                const std::vector<TokenId>& ids, Spelling spelling) {
  std::vector<std::size_t> ends;
  ends.reserve(ids.size());
  std::size_t at = 0;
  for (const TokenId id : ids) {
    const std::string token = tokenizer.id_to_token(id);
    std::string piece = tokenizer.is_special(id) ? token : spelled(token, spelling);
    if (tokenizer.is_byte(id) && token.size() == 6)
      piece = std::string(1, static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16)));
    const auto fits = [&](std::size_t from, std::string_view p) { return text.substr(from).starts_with(p); };
    if (!fits(at, piece)) {
      // A space that the tokenizer put before the first word, or white space that an added token took in.
      const bool added_space =
          spelling == Spelling::kSentencePiece && piece.starts_with(' ') && fits(at, std::string_view(piece).substr(1));
      std::size_t next = at;
      while (next < text.size()) {
        std::size_t after = next;
        if (!jinja::is_python_space(next_character(text, after))) break;
        next = after;
      }
      if (added_space) {
        piece.erase(0, 1);
      } else if (next > at && fits(next, piece)) {
        at = next;
      } else {
        return std::nullopt;
      }
    }
    at += piece.size();
    ends.push_back(at);
  }
  // White space at the very end may belong to the last token.
  if (jinja::strip(text.substr(at), nullptr, true, true).empty()) {
    if (!ends.empty()) ends.back() = text.size();
    return ends;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::vector<std::size_t>> token_ends(const Tokenizer& tokenizer, std::string_view text,
                                                   const std::vector<TokenId>& ids) {
  if (auto ends = aligned(tokenizer, text, ids, Spelling::kByteLevel)) return ends;
  return aligned(tokenizer, text, ids, Spelling::kSentencePiece);
}

std::vector<std::uint8_t> token_mask(const Tokenizer& tokenizer, std::string_view text, const std::vector<TokenId>& ids,
                                     const std::vector<ChatSpan>& spans) {
  std::vector<std::uint8_t> mask(ids.size(), 0);
  if (const auto ends = token_ends(tokenizer, text, ids)) {
    std::size_t span = 0;
    for (std::size_t i = 0; i < ids.size() && span < spans.size(); ++i) {
      const std::size_t begin = i == 0 ? 0 : (*ends)[i - 1];
      while (span < spans.size() && begin >= spans[span].end) ++span;
      mask[i] = span < spans.size() && (*ends)[i] > spans[span].begin ? 1 : 0;
    }
    return mask;
  }
  // The ids of the text up to a border agree with those of the whole up to the token that reaches over it.
  const auto tokens_before = [&](std::size_t border, bool or_over) {
    const std::vector<TokenId> head = tokenizer.encode(text.substr(0, border), false);
    const auto agree =
        static_cast<std::size_t>(std::mismatch(head.begin(), head.end(), ids.begin(), ids.end()).second - ids.begin());
    return std::min(ids.size(), agree + (or_over && agree < head.size() ? 1 : 0));
  };
  for (const ChatSpan& span : spans) {
    if (span.begin >= span.end) continue;
    const std::size_t from = tokens_before(span.begin, false), to = tokens_before(span.end, true);
    std::fill(mask.begin() + static_cast<std::ptrdiff_t>(std::min(from, to)),
              mask.begin() + static_cast<std::ptrdiff_t>(to), 1);
  }
  return mask;
}

}  // namespace lowrank::data
