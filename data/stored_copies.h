// Examples of the token cache that lie far apart, copied.
#pragma once

#include <memory>

#include "lowrank/core/files.h"
#include "lowrank/data/token_storage.h"

namespace lowrank::data {

/// Reads them from the files: of a mapping of gigabytes each would cost tables of pages of its own, and the clearing of them.
class StoredCopies {
 public:
  /// IoError where the files are no longer those that were mapped.
  explicit StoredCopies(std::shared_ptr<const TokenStorage> storage);
  /// `example`, which is one of the storage's, holds its tokens and its mask in memory from here on. IoError.
  void own(Example& example) const;

 private:
  std::shared_ptr<const TokenStorage> storage_;
  core::InputFile ids_, learned_;
};

}  // namespace lowrank::data
