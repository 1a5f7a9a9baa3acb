// safetensors files: https://github.com/huggingface/safetensors. Torch-free; tensor views are in safetensors_torch.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowrank/core/files.h"
#include "lowrank/formats/dtype.h"

namespace lowrank::formats {

namespace fs = std::filesystem;

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // byte range in the data part
};

struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              // sorted by offset, then name
  std::map<std::string, std::string> metadata;  // __metadata__
  std::uint64_t data_start = 0;                 // offset of the data part in the file
};

/// Parses and checks a whole file's bytes: every case of the format's own validation, and duplicate keys, caps on
/// names, counts and depth, and Git LFS pointer files. FormatError names the file, the tensor and the fault. Allocates
/// no more than a small multiple of the header.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where);

/// An opened (mapped) file.
class SafetensorsFile {
 public:
  static std::shared_ptr<const SafetensorsFile> open(const fs::path& file);
  const fs::path& path() const { return map_->path(); }
  const SafetensorsHeader& header() const { return header_; }
  const TensorInfo* find(std::string_view name) const;             // nullptr when absent
  std::span<const std::byte> bytes(const TensorInfo& info) const;  // a view into the mapping
  std::shared_ptr<const core::MappedFile> mapping() const { return map_; }

 private:
  std::shared_ptr<const core::MappedFile> map_;
  SafetensorsHeader header_;
  std::map<std::string, std::size_t, std::less<>> index_;
};

/// The weights of a model folder: model.safetensors, or the shards of model.safetensors.index.json, or without it all
/// of PREFIX-00001-of-0000N.safetensors. Names are those of the model itself: what a wrapped module's have beside them
/// (`_orig_mod.`, `module.`, …) is left out, so that they differ from those of the files' own headers. Shard names are plain
/// file names (which may be links out of the folder: links() says where to). FormatError for a tensor that is there twice
/// with different values; other faults of an index are notes(), since the shards are read whole.
class WeightFiles {
 public:
  static WeightFiles open(const fs::path& model_directory);
  struct Entry {
    std::shared_ptr<const SafetensorsFile> file;
    const TensorInfo* info;
    std::span<const std::byte> bytes() const { return file->bytes(*info); }
  };
  const Entry* find(std::string_view name) const;
  std::vector<std::string> names() const;  // sorted
  void rename(const std::string& from, const std::string& to);  // one that is there
  std::vector<std::string> names_in(const SafetensorsFile& file) const;  // sorted; one that is in two files is in the first
  const std::vector<std::shared_ptr<const SafetensorsFile>>& files() const { return files_; }
  std::uint64_t total_bytes() const;  // of all tensor data
  bool sharded() const { return sharded_; }
  /// A line for each file that is a link out of the folder: where it leads.
  std::vector<std::string> links() const;
  /// A line for each way in which the files are not as they should be, and are read nevertheless.
  const std::vector<std::string>& notes() const { return notes_; }
  /// Throws IoError when a file is no longer the one that was opened.
  void check_unchanged() const;

 private:
  void compare_with(const std::map<std::string, std::string>& shard_of, const std::string& index);
  void take_names(const fs::path& directory);
  std::vector<std::string> notes_;
  std::vector<std::shared_ptr<const SafetensorsFile>> files_;
  std::map<std::string, Entry, std::less<>> entries_;
  bool sharded_ = false;
};

/// The line that says where a tensor file leads which is a link out of its folder; empty for any other.
std::string link_line(const fs::path& file);

/// When a folder holds weights only as pickle files (pytorch_model.bin, adapter_model.bin …): the sentence that says
/// that they are never read and how to convert them. nullopt when there are none.
std::optional<std::string> pickle_advice(const fs::path& directory);

/// One tensor to write: its bytes are produced when its turn comes, so that a file larger than memory can be written.
struct TensorToWrite {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::function<void(const std::function<void(std::span<const std::byte>)>& sink)> produce;
};

/// Writes a file through AtomicFile, laid out as the reference writer does (descending alignment, then name; header
/// padded to 8): byte-equal to Python's safetensors.save_file for the same tensors and metadata.
void write_safetensors(const fs::path& destination, std::vector<TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace lowrank::formats
