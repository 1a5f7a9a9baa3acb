#include "lowrank/data/hub/repo.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::data::hub {
namespace {

bool is_name_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-'; }

bool is_part(std::string_view part) {
  const auto edge = [](char c) { return c == '.' || c == '-'; };
  return !part.empty() && std::all_of(part.begin(), part.end(), is_name_character) && !edge(part.front()) &&
         !edge(part.back());
}

// The rules of huggingface_hub's validate_repo_id.
bool is_repo_id(std::string_view id) {
  if (id.empty() || id.size() > 96 || id.find("--") != id.npos || id.find("..") != id.npos || id.ends_with(".git")) {
    return false;
  }
  const std::size_t slash = id.find('/');
  if (slash == id.npos) return is_part(id);
  return is_part(id.substr(0, slash)) && is_part(id.substr(slash + 1));
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

bool is_commit_name(std::string_view text) {
  return text.size() == 40 && text.find_first_not_of("0123456789abcdef") == text.npos;
}

bool is_revision(std::string_view text) {
  if (text.empty() || text.size() > 200 || text.front() == '/' || text.back() == '/') return false;
  if (text.find("..") != text.npos || text.find("//") != text.npos || text.find("/.") != text.npos || text[0] == '.') {
    return false;
  }
  return std::all_of(text.begin(), text.end(), [](char c) { return is_name_character(c) || c == '/' || c == '+'; });
}

bool Repo::is_commit() const { return is_commit_name(revision); }

std::string Repo::folder() const {
  std::string name = type == RepoType::kModel ? "models--" : "datasets--";
  for (const char c : id) name += c == '/' ? std::string("--") : std::string(1, c);
  return name;
}

std::string Repo::url_name() const { return (type == RepoType::kModel ? "" : "datasets/") + id; }

std::string Repo::api_name() const { return (type == RepoType::kModel ? "models/" : "datasets/") + id; }

std::string Repo::spelled() const { return url_name() + (revision == "main" ? "" : "@" + revision); }

std::optional<Repo> parse_repo(std::string_view text, RepoType type) {
  Repo repo;
  repo.type = type;
  const bool page = take_prefix(text, "https://huggingface.co/") || take_prefix(text, "https://hf.co/");
  take_prefix(text, "hf://");
  if (take_prefix(text, "datasets/")) {
    repo.type = RepoType::kDataset;
  } else if (take_prefix(text, "models/")) {
    repo.type = RepoType::kModel;
  }
  while (text.ends_with('/')) text.remove_suffix(1);
  if (const std::size_t tree = text.find("/tree/"); page && tree != text.npos) {
    repo.revision = text.substr(tree + 6);
    text = text.substr(0, tree);
  } else if (const std::size_t at = text.find('@'); at != text.npos) {
    repo.revision = text.substr(at + 1);
    text = text.substr(0, at);
  }
  if (!is_repo_id(text) || !is_revision(repo.revision)) return std::nullopt;
  repo.id = text;
  return repo;
}

Repo repo_named(std::string_view text, std::optional<RepoType> required) {
  const std::optional<Repo> repo = parse_repo(text, required.value_or(RepoType::kModel));
  if (!repo) {
    throw ConfigError(fmt::format("'{}' is no name of a repository on the hub; expected ORG/NAME, or datasets/ORG/NAME, "
                                  "with @REVISION behind it for another revision than main",
                                  core::printable(text, 120)));
  }
  if (required && repo->type != *required) {
    throw ConfigError(fmt::format("'{}' names a {}, and `repo-type` says {}; leave one of them out",
                                  core::printable(text, 120), repo->type == RepoType::kModel ? "model" : "data set",
                                  *required == RepoType::kModel ? "model" : "dataset"));
  }
  return *repo;
}

}  // namespace lowrank::data::hub
