#include "lowrank/data/tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/byte_level.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {

namespace {

constexpr std::string_view kSpace = "\u2581";
constexpr char32_t kTableCharacters = 0x10000;  // those beyond are looked up as texts

// Earlier rank first, then the place further left: the order of PyPI tokenizers' queue.
struct Later {
  template <class T>
  bool operator()(const T& a, const T& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  }
};

}  // namespace

Bpe::Bpe(const core::JsonView& model, ModelTables tables) : TokenModel(std::move(tables.vocabulary)) {
  if (model.get_double("dropout", 0) != 0) model.at("dropout").fail("merge dropout is not supported (null and 0 are)");
  prefix_ = model.get_string("continuing_subword_prefix", "");
  suffix_ = model.get_string("end_of_word_suffix", "");
  byte_fallback_ = model.get_bool("byte_fallback", false);
  fuse_unk_ = model.get_bool("fuse_unk", false);
  ignore_merges_ = model.get_bool("ignore_merges", false);
  check_vocabulary(model);
  index_characters();
  if (!model.at("merges").is_array()) model.at("merges").fail("expected an array of merges");
  read_merges(tables);
  read_byte_tokens(model);
  if (model.has_value("unk_token")) {
    const std::string unk = model.at("unk_token").as_string();
    unk_ = vocabulary_.find(unk);
    if (!unk_) model.at("unk_token").fail("'" + core::printable(unk) + "' is not in the vocabulary");
  }
  words_ = words_ && (byte_fallback_ || unk_);  // a character that is left out would bring two ▁ together
}

Bpe::Bpe(const std::vector<std::string>& tokens, const std::vector<std::string>& special, const std::string& where)
    : ignore_merges_(true) {
  const auto add = [&](const std::string& text, TokenId id) {
    if (text.empty() || !vocabulary_.add(text, id)) {
      throw FormatError(
          fmt::format("{}: the token {}, '{}', is empty or there twice", where, id, core::printable(text, 40)));
    }
  };
  for (std::size_t i = 0; i < special.size(); ++i) add(special[i], static_cast<TokenId>(i));
  std::unordered_map<std::string_view, TokenId> ids;
  for (std::size_t rank = 0; rank < tokens.size(); ++rank) {
    const auto id = static_cast<TokenId>(special.size() + rank);
    std::string text;
    append_byte_level(text, tokens[rank]);
    add(text, id);
    ids.emplace(tokens[rank], id);
  }
  for (int byte = 0; byte < 256; ++byte) {
    if (!ids.contains(std::string(1, static_cast<char>(byte)))) {
      throw FormatError(fmt::format("{}: no token is the byte {:#04x}", where, byte));
    }
  }
  struct Pair {
    TokenId left, right;
    Merge merge;
  };
  std::vector<Pair> pairs;
  for (std::size_t rank = 0; rank < tokens.size(); ++rank) {
    const std::string_view token = tokens[rank];
    for (std::size_t at = 1; at < token.size(); ++at) {
      const auto left = ids.find(token.substr(0, at)), right = ids.find(token.substr(at));
      if (left == ids.end() || right == ids.end()) continue;
      pairs.push_back({left->second, right->second, {static_cast<std::int32_t>(rank), ids.at(token)}});
    }
  }
  merges_ = MergeTable(pairs.size());
  for (const Pair& pair : pairs) merges_.set(pair.left, pair.right, pair.merge);
  index_characters();
}

void Bpe::index_characters() {
  for (TokenId id = 0; id < vocabulary_.size(); ++id) {
    const auto token = vocabulary_.token(id);
    if (!token || token->empty()) continue;
    std::size_t at = 0;
    const char32_t c = next_character(*token, at);
    if (at != token->size() || c >= kTableCharacters) continue;
    if (c >= character_ids_.size()) character_ids_.resize(c + 1, -1);
    character_ids_[c] = id;
  }
}

void Bpe::read_merges(const ModelTables& tables) {
  merges_ = MergeTable(tables.merge_count());
  words_ = vocabulary_.find(kSpace) && prefix_.empty() && suffix_.empty() && !ignore_merges_;
  std::int32_t rank = 0;
  std::string merged;
  tables.visit_merges([&](std::string_view left, std::string_view right, const ModelTables::Problem& problem) {
    const auto look_up = [&](std::string_view token) {
      const auto id = vocabulary_.find(token);
      if (!id) problem("a merge of unknown tokens: '" + core::printable(token, 40) + "' is not in the vocabulary");
      return id.value_or(-1);
    };
    const TokenId left_id = look_up(left), right_id = look_up(right);
    if (right.starts_with(kSpace) && !left.ends_with(kSpace)) words_ = false;
    if (!right.starts_with(prefix_)) {
      problem("'" + core::printable(right, 40) + "' does not begin with continuing_subword_prefix");
    }
    merged.assign(left).append(right.substr(prefix_.size()));
    merges_.set(left_id, right_id, {rank++, look_up(merged)});
  });
}

void Bpe::read_byte_tokens(const core::JsonView& model) {
  if (!byte_fallback_) return;
  for (int b = 0; b < 256; ++b) {
    const std::string token = fmt::format("<0x{:02X}>", b);
    const auto id = vocabulary_.find(token);
    if (!id) model.at("byte_fallback").fail("true, but the vocabulary has no byte token '" + token + "'");
    byte_ids_[static_cast<std::size_t>(b)] = *id;
  }
}

TokenId Bpe::id_of(char32_t c, std::string_view text) const {
  if (c < character_ids_.size()) return character_ids_[c];
  if (c < kTableCharacters) return -1;
  return vocabulary_.find(text).value_or(-1);
}

void Bpe::fill(std::string_view piece, Workspace& w) const {
  w.symbols.clear();
  const auto add = [&](TokenId id) { w.symbols.push_back({id, -1, -1, true}); };
  const bool has_affixes = !prefix_.empty() || !suffix_.empty();
  std::string composed;
  bool pending_unk = false;  // an unknown character waits for the next one, which it may be fused with
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t begin = at;
    const char32_t c = next_character(piece, at);
    std::string_view symbol = piece.substr(begin, at - begin);
    if (has_affixes) {
      composed = begin == 0 ? "" : prefix_;
      composed += symbol;
      if (at == piece.size()) composed += suffix_;
      symbol = composed;
    }
    const TokenId id = has_affixes ? vocabulary_.find(symbol).value_or(-1) : id_of(c, symbol);
    if (id >= 0) {
      if (pending_unk) add(*unk_);
      pending_unk = false;
      add(id);
    } else if (byte_fallback_) {
      for (const char byte : symbol) add(byte_ids_[static_cast<unsigned char>(byte)]);
    } else if (unk_) {
      if (pending_unk && !fuse_unk_) add(*unk_);
      pending_unk = true;
    }
  }
  if (pending_unk) add(*unk_);
  const auto n = static_cast<std::int32_t>(w.symbols.size());
  for (std::int32_t i = 0; i < n; ++i) {
    w.symbols[static_cast<std::size_t>(i)].previous = i - 1;
    w.symbols[static_cast<std::size_t>(i)].next = i + 1 < n ? i + 1 : -1;
  }
}

void Bpe::propose(Workspace& w, std::int32_t left, std::int32_t right) const {
  const Merge* m =
      merges_.find(w.symbols[static_cast<std::size_t>(left)].id, w.symbols[static_cast<std::size_t>(right)].id);
  if (m == nullptr) return;
  w.heap.push_back({m->rank, left, m->merged});
  std::push_heap(w.heap.begin(), w.heap.end(), Later{});
}

void Bpe::merge(Workspace& w) const {
  auto& s = w.symbols;
  w.heap.clear();
  for (std::size_t i = 0; i + 1 < s.size(); ++i) {
    const Merge* m = merges_.find(s[i].id, s[i + 1].id);
    if (m != nullptr) w.heap.push_back({m->rank, static_cast<std::int32_t>(i), m->merged});
  }
  std::make_heap(w.heap.begin(), w.heap.end(), Later{});
  while (!w.heap.empty()) {
    std::pop_heap(w.heap.begin(), w.heap.end(), Later{});
    const auto top = w.heap.back();
    w.heap.pop_back();
    auto& left = s[static_cast<std::size_t>(top.position)];
    if (!left.alive || left.next < 0) continue;
    auto& right = s[static_cast<std::size_t>(left.next)];
    // The pair may be another one by now; as in the reference it counts if it still gives the same token.
    const Merge* now = merges_.find(left.id, right.id);
    if (now == nullptr || now->merged != top.merged) continue;
    left.id = top.merged;
    left.next = right.next;
    right.alive = false;
    if (left.next >= 0) s[static_cast<std::size_t>(left.next)].previous = top.position;
    if (left.previous >= 0) propose(w, left.previous, top.position);
    if (left.next >= 0) propose(w, top.position, left.next);
  }
}

std::size_t Bpe::part_end(std::string_view piece, std::size_t from) const {
  if (!words_) return piece.size();
  std::size_t at = from;
  while (piece.substr(at).starts_with(kSpace)) at += kSpace.size();
  return std::min(piece.find(kSpace, at), piece.size());
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const auto id = vocabulary_.find(piece)) {
      ids.push_back(*id);
      return;
    }
  }
  Workspace w;
  fill(piece, w);
  merge(w);
  for (const auto& symbol : w.symbols) {
    if (symbol.alive) ids.push_back(symbol.id);
  }
}

}  // namespace lowrank::data
