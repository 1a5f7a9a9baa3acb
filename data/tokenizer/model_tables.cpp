#include "lowrank/data/tokenizer/model_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data {

namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 20;

}  // namespace

void ModelTables::fail(const std::string& place, const std::string& problem) const {
  throw FormatError(where_ + ": " + place + ": " + problem);
}

void ModelTables::member(std::string_view path, std::string& key, core::Json& value) {
  if (path == "model.merges") {
    add_merge(value);
  } else if (key.empty() && !value.is_number_integer()) {
    add_scored(value);
  } else {
    add_token(key, value);
  }
}

void ModelTables::read(const core::JsonView& model) {
  for (const char* table : {"vocab", "merges"}) {
    if (!model.has(table)) continue;
    const std::string path = std::string("model.") + table;
    for (const auto& [name, value] : model.at(table).raw().items()) {
      std::string key = model.at(table).is_object() ? name : "";
      core::Json copy = value;
      member(path, key, copy);
    }
  }
}

void ModelTables::add_token(const std::string& token, const core::Json& id) {
  if (id.is_number_integer()) {
    const auto wide = id.get<std::int64_t>();
    if (wide >= 0 && wide <= kMaxTokenId && vocabulary.add(token, static_cast<TokenId>(wide))) return;
  }
  const core::JsonView entry(id, where_ + ": model.vocab." + core::printable(token, 40));
  const auto narrow = static_cast<TokenId>(entry.as_int(0, kMaxTokenId));
  const auto other = vocabulary.token(narrow);
  entry.fail(fmt::format("the id {} is also that of '{}'", narrow, core::printable(other.value_or(token), 40)));
}

void ModelTables::add_scored(core::Json& value) {
  const auto place = [&] { return fmt::format("model.vocab[{}]", scores.size()); };
  if (!value.is_array() || value.size() != 2 || !value[0].is_string() || !value[1].is_number()) {
    fail(place(), "expected [\"token\", score]");
  }
  const auto& token = value[0].get_ref<const std::string&>();
  if (scores.size() > static_cast<std::size_t>(kMaxTokenId)) fail(place(), "more tokens than are accepted");
  if (!vocabulary.add(token, static_cast<TokenId>(scores.size()))) {
    fail(place(), "'" + core::printable(token, 40) + "' is there twice");
  }
  scores.push_back(value[1].get<double>());
}

// "left right" or ["left", "right"].
void ModelTables::add_merge(core::Json& value) {
  const std::size_t place = merges_seen_++;
  const auto problem = [&](const std::string& text) { fail(fmt::format("model.merges[{}]", place), text); };
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (text.starts_with("#version")) {
      --merges_seen_;
      return;
    }
    const auto space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      problem("expected two tokens with one space between them, found '" + core::printable(text, 40) + "'");
    }
    keep_merge(std::string_view(text).substr(0, space), std::string_view(text).substr(space + 1));
  } else if (value.is_array() && value.size() == 2 && value[0].is_string() && value[1].is_string()) {
    keep_merge(value[0].get_ref<const std::string&>(), value[1].get_ref<const std::string&>());
  } else {
    problem("expected \"left right\" or [\"left\", \"right\"]");
  }
}

void ModelTables::keep_merge(std::string_view left, std::string_view right) {
  const std::uint32_t sizes[2] = {static_cast<std::uint32_t>(left.size()), static_cast<std::uint32_t>(right.size())};
  const std::size_t needed = sizeof sizes + left.size() + right.size();
  if (blocks_.empty() || blocks_.back().size() + needed > blocks_.back().capacity()) {
    blocks_.emplace_back().reserve(std::max(kBlockBytes, needed));
  }
  blocks_.back().append(reinterpret_cast<const char*>(sizes), sizeof sizes).append(left).append(right);
  ++merge_count_;
}

void ModelTables::visit_merges(
    const std::function<void(std::string_view, std::string_view, const Problem&)>& visit) const {
  std::size_t place = 0;
  const Problem problem = [&](const std::string& text) { fail(fmt::format("model.merges[{}]", place), text); };
  for (const std::string& block : blocks_) {
    for (std::size_t at = 0; at < block.size(); ++place) {
      std::uint32_t sizes[2];
      std::memcpy(sizes, block.data() + at, sizeof sizes);
      at += sizeof sizes;
      const std::string_view left = std::string_view(block).substr(at, sizes[0]);
      const std::string_view right = std::string_view(block).substr(at + sizes[0], sizes[1]);
      at += left.size() + right.size();
      visit(left, right, problem);
    }
  }
}

}  // namespace lowrank::data
