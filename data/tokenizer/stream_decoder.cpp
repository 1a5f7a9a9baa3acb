#include "lowrank/data/tokenizer/tokenizer.h"

namespace lowrank::data {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::size_t kWindow = 16;  // tokens after which the window's begin is moved on

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

void StreamDecoder::prime(std::span<const TokenId> ids) {
  const std::size_t kept = std::min(ids.size(), kWindow);
  ids_.assign(ids.end() - static_cast<std::ptrdiff_t>(kept), ids.end());
  emitted_ = tokenizer_.decode(ids_, skip_special_tokens_).size();
  last_whole_ = 0;
}

// The text of a window is certain but for a U+FFFD at its end, which may be the begin of a character.
std::string StreamDecoder::push(TokenId id) {
  if (tokenizer_.id_to_token(id).empty() || (skip_special_tokens_ && tokenizer_.is_special(id))) return "";
  ids_.push_back(id);
  if (tokenizer_.is_byte(id)) return "";  // decided by the whole run of bytes
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  const bool whole = !std::string_view(text).ends_with(kReplacement);
  const std::size_t certain = whole ? text.size() : text.size() - kReplacement.size();
  std::string out;
  if (certain > emitted_) {
    out = text.substr(emitted_, certain - emitted_);
    emitted_ = certain;
  }
  const std::size_t here = ids_.size();
  if (here > kWindow && last_whole_ > 0 && whole) {
    // The last token stays, because some decoders treat the first token of a text in a way of its own.
    ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(last_whole_));
    emitted_ = tokenizer_.decode(ids_, skip_special_tokens_).size();
    last_whole_ = 0;
  } else if (here > 2 * kWindow && !whole) {
    // Nothing but broken characters: cut where the halves decode to the same text. A character has at most 4 bytes, so
    // what is to come cannot change the first half.
    const std::span<const TokenId> all(ids_);
    const std::string head = tokenizer_.decode(all.first(kWindow), skip_special_tokens_);
    const std::string tail = tokenizer_.decode(all.subspan(kWindow), skip_special_tokens_);
    if (head + tail == text) {
      ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(kWindow));
      emitted_ -= head.size();
      last_whole_ = 0;
    }
  }
  if (whole && ids_.size() == here) last_whole_ = here;
  return out;
}

std::string StreamDecoder::flush() {
  const std::string text = tokenizer_.decode(ids_, skip_special_tokens_);
  std::string out = text.size() > emitted_ ? text.substr(emitted_) : "";
  ids_.clear();
  emitted_ = last_whole_ = 0;
  return out;
}

}  // namespace lowrank::data
