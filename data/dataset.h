// From files to examples: `load` reads, tokenizes, masks, cuts and reports.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/progress.h"
#include "lowrank/data/records.h"

namespace lowrank::data {

class ChatLayout;

enum class Format { kAuto, kText, kCompletion, kAlpaca, kMessages, kShareGpt };
Format parse_format(const std::string& name);  // ConfigError with the nearest name
std::string format_name(Format format);

/// A part of a data set, where a folder's files are named after them.
enum class Part { kTrain, kValidation, kTest };

class RowMap;

/// How files are read, whatever their rows become.
struct FileOptions {
  Part part = Part::kTrain;                     // of folders that have parts
  std::shared_ptr<const RowMap> map = nullptr;  // of columns with names of their own; null: rows are read by their keys
  double temperature = 1;                       // of sources, by their sizes; see tempered()
};

/// Where token ids are kept for the next time, and mapped instead of held in memory.
struct TokenCachePlace {
  std::filesystem::path folder;
  std::uint64_t from_bytes = 0;  // of the files that are read: less than that is not kept
};

struct DataOptions {
  Format format = Format::kAuto;
  int seq_len = 1024;                                // pieces and examples hold at most this many tokens
  bool train_on_prompt = false;                      // instruction data: learn the prompt's tokens too
  bool judged = false;                               // pairs of answers that are read and not written (rewards)
  std::shared_ptr<const ChatLayout> chat = nullptr;  // of conversations; null: chat_layout_of() the tokenizer
  FileOptions files = {};
  int threads = 1;                               // that tokenize
  std::optional<TokenCachePlace> cache = {};     // of load(); nothing of the data set depends on it
};

/// What was read, for the table shown before training and for run.json.
struct ReadReport {
  std::string format;  // "text", "prompt/completion", …
  std::int64_t files = 0, documents = 0, examples = 0;
  std::int64_t tokens = 0, learned_tokens = 0;  // learned: counted in the loss
  std::int64_t truncated = 0;                   // rows cut to seq_len (text is cut into pieces, not truncated)
  std::int64_t truncated_tokens = 0;
  std::int64_t empty = 0, duplicates = 0;  // documents dropped as blank; documents seen before (kept)
  std::int64_t all_masked = 0;             // examples with nothing to learn (dropped)
  std::int64_t crlf_files = 0, bom_files = 0, replaced_bytes = 0;
  bool chat_template = false;      // conversations were laid out by a chat template
  std::vector<std::string> notes;  // the role layout, and whatever else should be said once
  std::string sha256;              // of what was read, in order
};

struct Dataset {
  Documents documents;
  Examples examples;              // in file order
  std::vector<double> weights;    // how often an epoch takes the examples of each source; empty: once
  ReadReport report;
  std::shared_ptr<const TokenStorage> storage = nullptr;  // of a data set that lies in the token cache
};

/// Keeps what is read of a data set that lies in the token cache from staying in memory: tell it each example that is.
class ReadAlong {
 public:
  /// `apart`: the examples do not follow each other. `storage` may be null.
  explicit ReadAlong(const std::shared_ptr<const TokenStorage>& storage, bool apart = false)
      : storage_(storage), around_(apart ? kAround : 0) {}
  ReadAlong(const ReadAlong&) = delete;
  ReadAlong& operator=(const ReadAlong&) = delete;
  ~ReadAlong() { release(); }

  void read(const Example& example) {
    held_ += 2 * around_ + example.ids.size() * (sizeof(TokenId) + 1);
    if (held_ > (around_ > 0 ? kHeldApart : kHeld)) release();
  }

 private:
  static constexpr std::size_t kHeld = std::size_t{32} << 20;
  static constexpr std::size_t kHeldApart = std::size_t{128} << 20;  // at worst: each release goes through all of the mapping
  static constexpr std::size_t kAround = std::size_t{2} << 20;  // what a kernel may map around a page that is read

  void release() {
    if (storage_ != nullptr && held_ > 0) storage_->release();
    held_ = 0;
  }

  std::shared_ptr<const TokenStorage> storage_;
  std::size_t around_, held_ = 0;
};

/// Reads files and folders (.txt, .md: text; .jsonl, .json: rows; also as .gz and .zst; "-": standard input). A folder
/// is read in sorted order, recursively. PATH*WEIGHT: an epoch takes its examples so often (training data alone).
/// Text: UTF-8, BOM dropped, CRLF and CR made LF; a document a file, or several parted by <|endoftext|> alone on a
/// line. Tokens = BOS if the tokenizer adds one, text, EOS. Cut from the start into pieces of at most seq_len. Rows:
/// prompt masked unless train_on_prompt; the end token learned; BOS once; over-long rows are cut at the end. Throws
/// MissingError, DataError (file and line), ConfigError; refuses data whose labels are all masked or whose answers
/// never contain the end token (all cut away), saying what to do. Several threads tokenize what one reads, and what comes
/// of it is the same for any number of them.
Dataset load(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer, const DataOptions& options,
             core::ProgressObserver* progress = nullptr);

/// The same from strings in memory, each a document of plain text named "text 0", "text 1" ...
Dataset from_texts(const std::vector<std::string>& texts, const Tokenizer& tokenizer, const DataOptions& options);

/// A validation split without validation data: by document, seeded, from 20 documents on; with fewer, the last ⌈f·n⌉
/// pieces of each. `how` says which in words. The examples keep their order.
struct Split {
  Dataset train, validation;
  std::string how;
};
Split split(const Dataset& all, double fraction, std::uint64_t seed);

}  // namespace lowrank::data
