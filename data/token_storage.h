// What the records of a data set in the token cache lie in: mapped, and read where they lie.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/data/example.h"

namespace lowrank::data {

struct StoredDocument {
  std::int64_t number;  // of Place
  std::uint32_t file;   // of the names of files
  std::uint32_t source;
  std::uint32_t unit;
  std::uint32_t duplicate;
};
static_assert(sizeof(StoredDocument) == 24);

constexpr std::uint64_t kAllLearned = ~std::uint64_t{0};
struct StoredExample {
  std::uint64_t ids;      // first token
  std::uint64_t learned;  // first byte, or kAllLearned
  std::uint32_t length;   // tokens
  std::uint32_t document;
  std::uint32_t cut;
  std::uint32_t counted;
};
static_assert(sizeof(StoredExample) == 32);

/// What is known of a folder of tokens beside what lies in its files.
struct StoredNames {
  std::vector<std::string> files;  // that documents lie in
  std::size_t longest = 0;         // tokens of an example
};

class TokenStorage {
 public:
  /// Maps the files of a folder. DataError where one ends within a record.
  TokenStorage(const std::filesystem::path& folder, const StoredNames& known);

  std::size_t examples() const { return examples_.size(); }
  std::span<const StoredDocument> documents() const { return documents_; }
  /// What is said of example i. DataError where its document is none of documents().
  const StoredExample& record(std::size_t i) const {
    const StoredExample& one = examples_[i];
    if (one.document >= documents_.size()) outside();
    return one;
  }
  /// What a record says, its tokens where they lie. DataError where it says what cannot be: the files are damaged.
  Example example(std::size_t i) const;
  Document document(std::size_t i) const;

  /// What the tokens and the masks of examples lie in.
  const core::MappedFile& ids_file() const { return *files_[2]; }
  const core::MappedFile& learned_file() const { return *files_[3]; }

  /// Gives back the memory of what was read, which can be read again all the same.
  void release() const;

 private:
  [[noreturn]] void outside() const;

  std::vector<std::shared_ptr<const core::MappedFile>> files_;
  std::span<const StoredExample> examples_;
  std::span<const StoredDocument> documents_;
  std::span<const TokenId> ids_;
  std::span<const std::uint8_t> learned_;
  std::vector<std::uint8_t> ones_;  // the mask of examples that are learned whole
  std::vector<std::shared_ptr<const std::string>> names_;
};

}  // namespace lowrank::data
