// Which file is read, and how far its links may lead.
#pragma once

#include <concepts>
#include <filesystem>
#include <string>
#include <type_traits>
#include <utility>

namespace lowrank::core {

/// A file to read. Made from a path alone it is what stands in a folder that somebody else may have made (`model /
/// "config.json"`): its links may not lead out of the folder that holds it, or of that folder's entry in a Hugging Face
/// cache (models--ORG--NAME). Tensor files (.safetensors) may be links to anywhere: their bytes are numbers. Links on
/// the way to the folder are the user's own and always followed.
class FileRef {
 public:
  template <class Path>
    requires(!std::same_as<std::remove_cvref_t<Path>, FileRef> && std::constructible_from<std::filesystem::path, Path>)
  FileRef(Path&& file) : path_(std::forward<Path>(file)) {}  // NOLINT: a path is one

  /// A file beneath `root`, in folders of it: no part of the way from there may lead out.
  static FileRef within(std::filesystem::path root, std::filesystem::path file) {
    FileRef ref(std::move(file));
    ref.root_ = std::move(root);
    return ref;
  }
  /// A file that the user named: links anywhere.
  static FileRef named(std::filesystem::path file) {
    FileRef ref(std::move(file));
    ref.named_ = true;
    return ref;
  }

  const std::filesystem::path& path() const { return path_; }
  operator const std::filesystem::path&() const { return path_; }  // NOLINT: its name is what it is called by
  std::string string() const { return path_.string(); }
  const std::filesystem::path& root() const { return root_; }  // empty: the folder that holds the file
  bool may_lead_anywhere() const;

 private:
  std::filesystem::path path_, root_;
  bool named_ = false;
};

/// From now on links in folders may lead anywhere, for the whole process: a choice of the user's (`follow-links`), who
/// knows whose links they are.
void follow_links(bool follow);
bool links_are_followed();

/// Where a link leads, when it leads out of the folder that holds it (or its cache entry); empty otherwise. For saying so
/// of tensor files.
std::filesystem::path leads_out_to(const std::filesystem::path& file);

}  // namespace lowrank::core
