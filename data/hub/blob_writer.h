// One file on its way into a store: what is written of it, and its hash.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lowrank/core/digest.h"
#include "lowrank/core/files.h"
#include "lowrank/data/hub/store.h"
#include "lowrank/data/hub/listing.h"

namespace lowrank::data::hub {

class BlobWriter {
 public:
  /// Opens the incomplete file and hashes what an earlier download left in it.
  BlobWriter(const Store& store, const RemoteFile& file);

  std::uint64_t written() const { return out_->bytes(); }
  std::uint64_t resumed() const { return resumed_; }
  void write(std::string_view bytes);
  /// From the first byte again.
  void start_over();
  /// All bytes are there: in place, if the hash is right; false, and nothing kept, if it is not.
  bool finish();

 private:
  void open(std::uint64_t keep_bytes);

  const Store& store_;
  const RemoteFile& file_;
  std::unique_ptr<core::AppendFile> out_;
  std::optional<core::Digest> digest_;
  std::uint64_t resumed_ = 0;
};

}  // namespace lowrank::data::hub
