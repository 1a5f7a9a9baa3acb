#include "lowrank/data/tokenizer/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

constexpr double kUnknownPenalty = 10;  // below the worst token

}  // namespace

Unigram::Unigram(const core::JsonView& model, ModelTables tables)
    : TokenModel(std::move(tables.vocabulary)), scores_(std::move(tables.scores)), where_(model.where()) {
  const core::JsonView vocab = model.at("vocab");
  if (!vocab.is_array()) vocab.fail("expected an array of tokens and their scores");
  if (scores_.empty()) vocab.fail("an empty vocabulary");
  const double worst = *std::min_element(scores_.begin(), scores_.end());
  unknown_score_ = worst - kUnknownPenalty;
  if (model.has_value("unk_id")) {
    unk_ = static_cast<TokenId>(model.at("unk_id").as_int(0, static_cast<std::int64_t>(scores_.size()) - 1));
  }
  if (model.get_bool("byte_fallback", false)) {
    for (int b = 0; b < 256; ++b) byte_ids_.push_back(vocabulary_.find(fmt::format("<0x{:02X}>", b)).value_or(-1));
  }
  std::vector<Trie::Entry> entries;
  entries.reserve(scores_.size());
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    const std::string_view token = *vocabulary_.token(id);
    if (!token.empty()) entries.emplace_back(token, id);
  }
  tokens_ = std::make_unique<Trie>(std::move(entries));
}

void Unigram::encode(std::string_view piece, std::vector<TokenId>& ids) const {
  struct Best {  // the best way to cut the text up to a place: its last token
    double score = 0;
    std::size_t begin = 0;
    TokenId id = -1;  // none yet
  };
  std::vector<Best> best(piece.size() + 1);
  for (std::size_t at = 0; at < piece.size();) {
    const double so_far = best[at].score;
    const std::size_t next = at + character_length(piece[at]);
    const auto propose = [&](std::size_t end, double score, TokenId id) {
      Best& b = best[end];
      if (b.id < 0 || score > b.score) b = {score, at, id};
    };
    bool is_known = false;
    std::int32_t node = Trie::kRoot;
    for (std::size_t end = at; end < piece.size();) {
      node = tokens_->step(node, piece[end++]);
      if (node == Trie::kNone) break;
      const TokenId id = tokens_->value(node);
      if (id < 0) continue;
      propose(end, scores_[static_cast<std::size_t>(id)] + so_far, id);
      is_known = is_known || end == next;
    }
    if (!is_known) {
      if (!unk_) append_unknown(piece.substr(at, next - at), ids);  // says what is missing
      propose(next, unknown_score_ + so_far, *unk_);
    }
    at = next;
  }
  // Neighbours that are unknown are one.
  std::vector<std::size_t> cuts;  // from the end to the begin
  for (std::size_t end = piece.size(); end > 0; end = best[end].begin) {
    const bool joins = !cuts.empty() && unk_ && best[end].id == *unk_ && best[cuts.back()].id == *unk_;
    if (joins) {
      best[cuts.back()].begin = best[end].begin;
    } else {
      cuts.push_back(end);
    }
  }
  for (auto end = cuts.rbegin(); end != cuts.rend(); ++end) {
    const std::string_view text = piece.substr(best[*end].begin, *end - best[*end].begin);
    if (unk_ && best[*end].id == *unk_) {
      append_unknown(text, ids);
    } else {
      ids.push_back(best[*end].id);
    }
  }
}

void Unigram::append_unknown(std::string_view text, std::vector<TokenId>& ids) const {
  if (const auto id = vocabulary_.find(text)) {
    ids.push_back(*id);
    return;
  }
  const auto byte_id = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  if (!byte_ids_.empty() && std::all_of(text.begin(), text.end(), [&](char b) { return byte_id(b) >= 0; })) {
    for (const char byte : text) ids.push_back(byte_id(byte));
    return;
  }
  if (!unk_) {
    throw DataError(fmt::format("{}: no token has the character '{}', and there is no unk_id for those that none has",
                                where_, core::printable(text, 20)));
  }
  ids.push_back(*unk_);
}

}  // namespace lowrank::data
