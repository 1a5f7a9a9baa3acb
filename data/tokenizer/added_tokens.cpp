#include "lowrank/data/tokenizer/added_tokens.h"

#include <algorithm>

#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

std::size_t previous_character(std::string_view text, std::size_t at) {
  --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool word_at(std::string_view text, std::size_t at) { return at < text.size() && is_word(next_character(text, at)); }

bool word_before(std::string_view text, std::size_t at) {
  return at > 0 && word_at(text, previous_character(text, at));
}

std::size_t white_space_begin(std::string_view text, std::size_t end) {
  while (end > 0) {
    const std::size_t begin = previous_character(text, end);
    std::size_t at = begin;
    if (!is_white_space(next_character(text, at))) break;
    end = begin;
  }
  return end;
}

std::size_t white_space_end(std::string_view text, std::size_t begin) {
  while (begin < text.size()) {
    std::size_t at = begin;
    if (!is_white_space(next_character(text, at))) break;
    begin = at;
  }
  return begin;
}

}  // namespace

AddedToken AddedToken::from_json(const core::JsonView& json) {
  AddedToken token;
  token.content = json.at("content").as_string();
  token.special = json.get_bool("special", false);
  token.normalized = json.get_bool("normalized", !token.special);
  token.single_word = json.get_bool("single_word", false);
  token.lstrip = json.get_bool("lstrip", false);
  token.rstrip = json.get_bool("rstrip", false);
  return token;
}

void LongestMatch::add(std::string_view text, std::int32_t value) {
  if (text.empty()) return;
  begins_[static_cast<unsigned char>(text[0])] = true;
  std::int32_t node = 0;
  for (const char c : text) {
    const auto key = static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(c);
    const auto [it, is_new] = children_.try_emplace(key, static_cast<std::int32_t>(values_.size()));
    if (is_new) values_.push_back(-1);
    node = it->second;
  }
  if (values_[static_cast<std::size_t>(node)] < 0) values_[static_cast<std::size_t>(node)] = value;  // the first wins
}

std::pair<std::int32_t, std::size_t> LongestMatch::at(std::string_view text, std::size_t at) const {
  std::pair<std::int32_t, std::size_t> best{-1, at};
  if (!begins_[static_cast<unsigned char>(text[at])]) return best;
  std::int32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto it = children_.find(static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(text[i]));
    if (it == children_.end()) break;
    node = it->second;
    if (values_[static_cast<std::size_t>(node)] >= 0) best = {values_[static_cast<std::size_t>(node)], i + 1};
  }
  return best;
}

void AddedTokenSplitter::add(const AddedToken& token, std::string_view as) {
  matcher_.add(as, static_cast<std::int32_t>(tokens_.size()));
  tokens_.push_back(token);
}

// The order of the checks, and that a token's white space may be a token once more, are PyPI tokenizers' own.
std::vector<SplitPart> AddedTokenSplitter::split(std::string_view text) const {
  std::vector<SplitPart> parts;
  if (tokens_.empty()) {
    if (!text.empty()) parts.push_back({{0, text.size()}, -1});
    return parts;
  }
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto [index, match_end] = matcher_.at(text, at);
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(index)];
    std::size_t begin = at, end = match_end;
    at = match_end;
    if (token.is_text) continue;
    if (token.single_word && (word_before(text, begin) || word_at(text, end))) continue;
    if (token.lstrip) begin = std::max(white_space_begin(text, begin), done);
    if (token.rstrip) end = white_space_end(text, end);
    if (begin >= end) continue;  // the token before it has taken all of it
    if (done < begin) parts.push_back({{done, begin}, -1});
    parts.push_back({{begin, end}, token.id});
    done = end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, -1});
  return parts;
}

}  // namespace lowrank::data
