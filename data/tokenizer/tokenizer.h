// Tokenizers as models ship them: tokenizer.json, SentencePiece's tokenizer.model, tekken.json, tiktoken files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lowrank::data {

using TokenId = std::int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// From a model folder: tokenizer.json, else tekken.json, else tokenizer.model (SentencePiece, or tiktoken's lines),
  /// else a .tiktoken file; tokenizer_config.json and special_tokens_map.json name the special tokens. MissingError
  /// when there is none of them; FormatError for a file that cannot be right.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& model_directory);

  /// Whether load() would find one.
  static bool is_in(const std::filesystem::path& directory);

  /// Ids equal to the reference's (transformers' AutoTokenizer). Special tokens written out in the text are recognised.
  /// With add_special_tokens the post-processor's BOS (and EOS, where it adds one) are added. Invalid UTF-8 is read as
  /// U+FFFD. Linear time in the text, up to a logarithm.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special_tokens = true) const = 0;
  /// encode(text) for a text that is gone on with: without the EOS that is added behind it.
  std::vector<TokenId> encode_prompt(std::string_view text) const;
  /// Text of ids, as transformers' decode(clean_up_tokenization_spaces=False).
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special_tokens = true) const = 0;

  virtual std::optional<TokenId> token_to_id(std::string_view token) const = 0;
  virtual std::string id_to_token(TokenId id) const = 0;  // empty for an id that is not in the vocabulary
  virtual bool is_special(TokenId id) const = 0;
  /// Whether the id stands for one raw byte (<0xNN>), so that its text depends on the bytes before and after it.
  virtual bool is_byte(TokenId) const { return false; }
  /// One more than the largest id.
  virtual TokenId size() const = 0;

  std::optional<TokenId> bos() const { return bos_; }
  std::optional<TokenId> eos() const { return eos_; }
  std::optional<TokenId> pad() const { return pad_; }
  std::optional<TokenId> unk() const { return unk_; }
  /// Whether encode(…, true) begins with BOS / ends with EOS.
  bool adds_bos() const { return adds_bos_; }
  bool adds_eos() const { return adds_eos_; }
  /// Whether the folder has a chat template (tokenizer_config.json, chat_template.jinja or chat_template.json).
  bool has_chat_template() const { return has_chat_template_; }
  /// The tokenizer files of the folder, for hashes and for carrying along (tokenizer.model too where tokenizer.json
  /// wins).
  const std::vector<std::filesystem::path>& files() const { return files_; }

 protected:
  std::optional<TokenId> bos_, eos_, pad_, unk_;
  bool adds_bos_ = false, adds_eos_ = false, has_chat_template_ = false;
  std::vector<std::filesystem::path> files_;
};

/// Turns a stream of ids into text that never splits a character and whose pieces join to decode(all ids).
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true);
  /// The ids that stand before the stream: they are not given out, but decide how its first token reads (the space
  /// before a SentencePiece word).
  void prime(std::span<const TokenId> ids);
  std::string push(TokenId id);  // the text that is now certain, perhaps empty
  std::string flush();           // what remains

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::vector<TokenId> ids_;    // the window that is decoded again at every push; its begin is between characters
  std::size_t emitted_ = 0;     // bytes of the window's text that were given out
  std::size_t last_whole_ = 0;  // the latest place in ids_ (but the end) that is known to be between characters
};

}  // namespace lowrank::data
