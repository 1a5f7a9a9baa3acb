// `add-tokens` of a run: a tokenizer and a base with further tokens, whose rows are trained.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "lowrank/data/tokenizer/add_tokens.h"
#include "lowrank/lora/adapter.h"
#include "lowrank/models/grown.h"

namespace lowrank::recipes {

class AddedTokens {
 public:
  /// The tokens of the file for the model in this folder.
  AddedTokens(const std::filesystem::path& file, const std::filesystem::path& model);

  const std::shared_ptr<const data::Tokenizer>& tokenizer() const { return extended_.tokenizer; }
  /// What the base is loaded with; null where its rows suffice (many models have some to spare).
  std::shared_ptr<const models::GrownVocabulary> grown() const;
  /// Trains the tokens' rows: by trainable_token_indices of the embedding and of a head of its own, where modules_to_save
  /// does not keep them whole.
  void train_in(lora::LoraConfig& config, const lora::SlotTable& slots) const;
  /// The rows in a fresh adapter begin as the file says, also those that the base's table had to spare.
  void begin_in(lora::Adapter& adapter, const lora::SlotTable& slots) const;
  /// "3 tokens added (512 to 514), …".
  std::string described(const lora::SlotTable& slots) const;

 private:
  std::vector<std::int64_t> ids() const;

  data::ExtendedTokenizer extended_;
  std::int64_t file_rows_ = 0;  // of the base
};

}  // namespace lowrank::recipes
