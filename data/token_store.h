// A data set's tokens on disk, in a folder of their own: written while they are made, gone on with after a kill, and
// mapped when they are read.
//
// ids.bin (int32) and learned.bin (a byte a token, of those examples that are not learned whole) lie end to end as the
// examples come; examples.bin says where each of them lies, documents.bin what each document is. While the folder is
// made, items.bin says what each document came to and progress.jsonl up to where all of it is on the disk; at the end
// tokens.json (report, sizes, hashes) stands in for these two. Byte order and layout are this machine's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/core/digest.h"
#include "lowrank/core/files.h"
#include "lowrank/data/assemble.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/encoder.h"
#include "lowrank/data/token_format.h"

namespace lowrank::data {

/// Writes one. Hold the folder's DirectoryLock.
class TokenLog : public RecordSink {
 public:
  /// Goes on behind what is whole of an earlier try. IoError.
  explicit TokenLog(std::filesystem::path folder);

  /// Documents that an earlier try left and next() has not given yet.
  std::int64_t left() const { return kept_ - given_; }
  /// The next of them. Its examples' ids and masks must not be read: ids have their length alone, a mask that is all
  /// ones is empty.
  Encoded next();
  /// Adds one; after it the same is true of its examples. Nothing may be left().
  void append(Encoded& encoded);

  /// Document by document what next() and append() gave, in their order.
  void add(const Document& document) override;
  void add(Example example) override;

  /// Gives `dataset` what was added, mapped: nothing more is. IoError.
  void end(Dataset& dataset);
  /// Says what the data set is that lies here, and what its sources were called, which ends the folder. IoError.
  void finish(const Dataset& dataset, const std::vector<std::string>& sources);

 private:
  /// A file of records, written anew.
  class RecordFile {
   public:
    explicit RecordFile(const std::filesystem::path& file) : file_(file, 0) {}
    template <class Record>
    void add(const Record& record);
    std::string end();  // its hash

   private:
    void write();

    core::AppendFile file_;
    core::Digest digest_{core::DigestKind::kSha256};
    std::string pending_;
  };

  void commit();

  struct Progress {
    std::int64_t items = 0;
    std::uint64_t item_bytes = 0, id_bytes = 0, learned_bytes = 0;
  };
  static Progress progress_of(const std::filesystem::path& folder);

  std::filesystem::path folder_;
  Progress done_;  // written
  std::int64_t kept_ = 0, given_ = 0;
  std::shared_ptr<const core::MappedFile> items_before_;
  std::size_t read_ = 0, released_ = 0;  // bytes of it
  std::string items_pending_, ids_pending_, learned_pending_;
  std::uint64_t ids_at_ = 0, learned_at_ = 0;  // of the next example, in tokens
  std::shared_ptr<const std::string> last_file_;
  StoredNames names_;
  std::unique_ptr<RecordFile> documents_, examples_;
  std::unique_ptr<core::AppendFile> items_, ids_, learned_, progress_;
  // As the files are written: read again for that, they would take longer than all the rest.
  core::Digest ids_digest_{core::DigestKind::kSha256}, learned_digest_{core::DigestKind::kSha256};
  StoredHashes hashes_;
};

/// The data set of a finished folder, its documents and examples mapped; nothing where there is none. DataError where it is
/// damaged: files of other sizes or, where the files' times are others than they were, other bytes than were written. `sources`: what they
/// are called this time, by the same contents.
std::optional<Dataset> read_tokens(const std::filesystem::path& folder, const std::vector<std::string>& sources);

}  // namespace lowrank::data
