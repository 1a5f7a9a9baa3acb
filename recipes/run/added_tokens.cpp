#include "lowrank/recipes/run/added_tokens.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "lowrank/core/plural.h"
#include "lowrank/core/text.h"
#include "lowrank/models/config.h"

namespace lowrank::recipes {

namespace fs = std::filesystem;

namespace {

std::string last_name(const std::string& path) { return path.substr(path.rfind('.') + 1); }

}  // namespace

AddedTokens::AddedTokens(const fs::path& file, const fs::path& model)
    : extended_(data::with_new_tokens(model, data::read_new_tokens(file))),
      file_rows_(models::read_config(model).vocab_size) {}

std::vector<std::int64_t> AddedTokens::ids() const {
  std::vector<std::int64_t> result;
  for (const auto& place : extended_.places) result.push_back(place.id);
  return result;
}

std::shared_ptr<const models::GrownVocabulary> AddedTokens::grown() const {
  const std::int64_t rows = extended_.tokenizer->size();
  if (rows <= file_rows_) return nullptr;
  auto result = std::make_shared<models::GrownVocabulary>();
  result->rows = rows;
  result->begin.resize(static_cast<std::size_t>(rows - file_rows_));
  for (const auto& place : extended_.places)
    if (place.id >= file_rows_) result->begin[static_cast<std::size_t>(place.id - file_rows_)] = place.begins;
  return result;
}

void AddedTokens::train_in(lora::LoraConfig& config, const lora::SlotTable& slots) const {
  const std::string& embedding = slots.embedding->path();
  const bool whole = config.saves_whole(embedding), head = !slots.tied && !slots.head.empty();
  if (slots.tied) {
    if (!whole) config.trainable_token_indices = {{"", ids()}};
    return;
  }
  if (!whole) config.trainable_token_indices.emplace_back(last_name(embedding), ids());
  if (head && !config.saves_whole(slots.head)) config.trainable_token_indices.emplace_back(last_name(slots.head), ids());
}

void AddedTokens::begin_in(lora::Adapter& adapter, const lora::SlotTable& slots) const {
  const at::NoGradGuard no_grad;
  // Tokens that were there keep their rows, unless a text is named for them.
  std::vector<models::RowBeginning> begin;
  std::vector<std::int64_t> at;
  for (const auto& place : extended_.places) {
    if (place.known && place.begins.empty()) continue;
    begin.push_back(place.begins);
    at.push_back(place.id);
  }
  const auto fill = [&](const lora::WholeModule& module, const std::string& path) {
    const at::Tensor table = module->base().front().tensor.detach().slice(0, 0, file_rows_);
    const at::Tensor rows = models::beginning_rows(table, begin);
    for (std::size_t i = 0; i < at.size(); ++i) {
      const at::Tensor row = rows.select(0, static_cast<std::int64_t>(i));
      for (const auto& own : adapter.token_rows()) {
        if (own.path != path) continue;
        const auto place = std::find(own.rows.ids.begin(), own.rows.ids.end(), at[i]) - own.rows.ids.begin();
        own.rows.values.select(0, place).copy_(row);
      }
      if (module->adapted(adapter.name())) at::Tensor(adapter.at_whole(path).front().tensor).select(0, at[i]).copy_(row);
    }
  };
  fill(slots.embedding->whole(), slots.embedding->path());
  for (const lora::LinearSlot& slot : slots.slots)
    if (slot->path() == slots.head && !slots.tied) fill(slot->whole(), slots.head);
}

std::string AddedTokens::described(const lora::SlotTable& slots) const {
  const auto known = std::count_if(extended_.places.begin(), extended_.places.end(), [](const auto& p) { return p.known; });
  const auto fresh = static_cast<std::int64_t>(extended_.places.size()) - known;
  std::string text = fresh == 0 ? "none is new" : core::counted(fresh, "new token");
  if (known > 0) text += fmt::format(", {} known already", known);
  const std::int64_t rows = slots.embedding->base().out_features();
  text += rows > file_rows_ ? fmt::format("; the vocabulary grows from {} to {} rows", file_rows_, rows)
                            : fmt::format("; the {} rows of the vocabulary suffice", rows);
  return text;
}

}  // namespace lowrank::recipes
