#include "lowrank/data/hub/blob_writer.h"

#include <algorithm>
#include <span>
#include <vector>

#include "lowrank/data/hub/blob_hash.h"

namespace lowrank::data::hub {

namespace fs = std::filesystem;

BlobWriter::BlobWriter(const Store& store, const RemoteFile& file) : store_(store), file_(file) {
  const fs::path path = store.incomplete(file);
  std::error_code error;
  const bool there = fs::is_regular_file(fs::symlink_status(path, error));
  const std::uint64_t size = there ? fs::file_size(path, error) : 0;
  open(size <= file.size ? size : 0);
  resumed_ = written();
  if (resumed_ == 0) return;
  core::InputFile before(path);
  std::vector<char> buffer(std::size_t{1} << 20);
  for (std::uint64_t left = resumed_; left > 0;) {
    const std::size_t n = before.read(std::span(buffer).first(std::min<std::uint64_t>(left, buffer.size())));
    if (n == 0) break;
    digest_->add({buffer.data(), n});
    left -= n;
  }
}

void BlobWriter::open(std::uint64_t keep_bytes) {
  out_.reset();
  out_ = std::make_unique<core::AppendFile>(store_.incomplete(file_), keep_bytes);
  digest_ = blob_hash(file_.large(), file_.size);
}

void BlobWriter::write(std::string_view bytes) {
  out_->write(bytes);
  digest_->add(bytes);
}

void BlobWriter::start_over() {
  open(0);
  resumed_ = 0;
}

bool BlobWriter::finish() {
  const bool right = digest_->hex() == file_.hash;
  if (!right) {
    out_->close();
    core::remove_file(store_.incomplete(file_));
    return false;
  }
  out_->sync();
  out_->close();
  store_.keep(file_);
  return true;
}

}  // namespace lowrank::data::hub
