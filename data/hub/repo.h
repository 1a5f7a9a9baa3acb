// A repository of the hub by its name: ORG/NAME, datasets/ORG/NAME, with @REVISION.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lowrank::data::hub {

enum class RepoType { kModel, kDataset };

struct Repo {
  RepoType type = RepoType::kModel;
  std::string id;                 // "ORG/NAME", or a name alone ("gpt2")
  std::string revision = "main";  // a branch, a tag or a commit

  bool is_commit() const;          // revision is a whole commit's name
  std::string folder() const;      // in a cache: "models--ORG--NAME"
  std::string url_name() const;    // in addresses of files and pages: "ORG/NAME", "datasets/ORG/NAME"
  std::string api_name() const;    // in addresses of the API: "models/ORG/NAME", "datasets/ORG/NAME"
  std::string spelled() const;     // as `lowrank pull` takes it: "datasets/ORG/NAME@REVISION"
};

/// What a text names on the hub: ORG/NAME, NAME, with models/ or datasets/ or hf:// before it and @REVISION behind it, or
/// the address of its page. Nothing where it can be no name there (huggingface_hub's rule). `type`: what it is where the
/// text does not say.
std::optional<Repo> parse_repo(std::string_view text, RepoType type = RepoType::kModel);

/// parse_repo, but ConfigError saying what is expected; also where the text says another type than `required`.
Repo repo_named(std::string_view text, std::optional<RepoType> required = std::nullopt);

/// Whether a text can be a branch, a tag or a commit whose name becomes a file in a cache.
bool is_revision(std::string_view text);

/// 40 characters of lower-case hex.
bool is_commit_name(std::string_view text);

}  // namespace lowrank::data::hub
