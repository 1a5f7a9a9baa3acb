#include "lowrank/data/hub/upload.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/base64.h"
#include "lowrank/data/hub/blob_hash.h"
#include "lowrank/data/hub/lfs.h"
#include "lowrank/data/hub/listing.h"

namespace lowrank::data::hub {
namespace {

using core::Json;
using core::JsonView;

struct Item {
  const LocalFile* file = nullptr;
  std::shared_ptr<const core::MappedFile> bytes;
  bool large = false;    // by LFS, says the hub
  bool ignored = false;  // the repository's .gitignore says
  std::string there;     // the hash of what the repository has by this name
  std::string hash;      // of what is sent: SHA-256 of large ones, git's SHA-1 of others

  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes->bytes().data()), bytes->bytes().size()};
  }
};

// How the hub wants each file.
void ask_how(Client& client, const Repo& repo, std::vector<Item>& items, const std::string& doing) {
  const std::string url = fmt::format("{}/api/{}/preupload/{}", client.settings().endpoint, repo.api_name(),
                                      quoted_for_url(repo.revision, false));
  constexpr std::size_t kAtATime = 256, kSample = 512;
  for (std::size_t begin = 0; begin < items.size(); begin += kAtATime) {
    Json ask = {{"files", Json::array()}};
    const std::size_t end = std::min(items.size(), begin + kAtATime);
    for (std::size_t i = begin; i < end; ++i) {
      const Item& item = items[i];
      ask["files"].push_back({{"path", item.file->path},
                              {"sample", base64(item.text().substr(0, kSample))},
                              {"size", item.text().size()}});
    }
    const Json answer = json_of(client, repo,
                                client.ask({.method = "POST", .url = url, .headers = {"Content-Type: application/json"},
                                            .body = core::json_text(ask)},
                                           doing),
                                doing);
    const JsonView files = JsonView(answer, "the answer of " + client.settings().endpoint).at("files");
    std::map<std::string, JsonView> by_path;
    for (std::size_t i = 0; i < files.size(); ++i) by_path.emplace(files.at(i).at("path").as_string(), files.at(i));
    for (std::size_t i = begin; i < end; ++i) {
      Item& item = items[i];
      const auto found = by_path.find(item.file->path);
      if (found == by_path.end()) files.fail("nothing about " + item.file->path);
      const std::string mode = found->second.at("uploadMode").as_string();
      if (mode != "lfs" && mode != "regular") found->second.fail("an uploadMode that is not known");
      item.large = mode == "lfs" && !item.text().empty();
      item.ignored = found->second.get_bool("shouldIgnore", false);
      item.there = found->second.get_string("oid", "");
    }
  }
}

std::string hash_of(const Item& item) {
  core::Digest digest = blob_hash(item.large, item.text().size());
  digest.add(item.text());
  return digest.hex();
}

std::string commit_lines(const std::vector<Item>& items, const std::string& message) {
  const std::size_t line = std::min(message.find('\n'), message.size());
  const std::size_t rest = message.find_first_not_of('\n', line);
  Json header = {{"summary", message.substr(0, line)},
                 {"description", rest == message.npos ? "" : message.substr(rest)}};
  std::string lines = core::json_text(Json({{"key", "header"}, {"value", header}})) + "\n";
  for (const Item& item : items) {
    Json value = {{"path", item.file->path}};
    if (item.large) {
      value["algo"] = "sha256";
      value["oid"] = item.hash;
      value["size"] = item.text().size();
    } else {
      value["content"] = base64(item.text());
      value["encoding"] = "base64";
    }
    lines += core::json_text(Json({{"key", item.large ? "lfsFile" : "file"}, {"value", value}})) + "\n";
  }
  return lines;
}

}  // namespace

void create_repo(Client& client, const Repo& repo, bool is_private) {
  const std::string doing = "create " + repo.url_name();
  const core::ProgressScope progress(client.observer(), doing, 0, "files");
  const std::size_t slash = repo.id.find('/');
  const Json body = {{"name", slash == repo.id.npos ? repo.id : repo.id.substr(slash + 1)},
                     {"organization", slash == repo.id.npos ? Json(nullptr) : Json(repo.id.substr(0, slash))},
                     {"type", repo.type == RepoType::kModel ? "model" : "dataset"},
                     {"private", is_private}};
  const Response response = client.ask({.method = "POST", .url = client.settings().endpoint + "/api/repos/create",
                                        .headers = {"Content-Type: application/json"}, .body = core::json_text(body)},
                                       doing, false);
  if (response.status == 409) return;  // it is there
  if (response.status < 200 || response.status > 299) throw_status(client, repo, response, doing);
}

Pushed upload(Client& client, const Repo& repo, const std::vector<LocalFile>& files, const std::string& message) {
  const std::string doing = "push to " + repo.spelled();
  Pushed result;
  std::vector<Item> items;
  for (const LocalFile& file : files) {
    Item item;
    item.file = &file;
    item.bytes = core::MappedFile::open(file.file);
    items.push_back(std::move(item));
  }
  {
    const core::ProgressScope progress(client.observer(), "asking about " + repo.id, 0, "files");
    ask_how(client, repo, items, doing);
  }
  for (Item& item : items) item.hash = hash_of(item);
  result.unchanged = static_cast<int>(std::erase_if(items, [](const Item& i) { return i.hash == i.there; }));
  if (client.observer() != nullptr) {
    for (const Item& item : items) {
      if (item.ignored) client.observer()->warning(item.file->path + " is left out: the repository's .gitignore says so");
    }
  }
  std::erase_if(items, [](const Item& item) { return item.ignored; });
  if (items.empty()) return result;

  std::vector<LfsFile> large;
  std::uint64_t total = 0;
  for (const Item& item : items) {
    if (!item.large) continue;
    large.push_back({item.file->path, item.hash, item.bytes->bytes()});
    total += item.text().size();
  }
  {
    const core::ProgressScope progress(client.observer(), "uploading " + repo.id, static_cast<std::int64_t>(total), "bytes");
    if (!large.empty()) result.bytes = send_lfs(client, repo, large, 0);
  }
  for (const Item& item : items) {
    core::check_unchanged(item.file->file, item.bytes->stamp());
    if (!item.large) result.bytes += item.text().size();
  }
  const core::ProgressScope progress(client.observer(), "committing to " + repo.id, 0, "files");
  client.set_done(static_cast<std::int64_t>(items.size()));
  const std::string url = fmt::format("{}/api/{}/commit/{}", client.settings().endpoint, repo.api_name(),
                                      quoted_for_url(repo.revision, false));
  const Json answer = json_of(client, repo,
                              client.ask({.method = "POST", .url = url, .headers = {"Content-Type: application/x-ndjson"},
                                          .body = commit_lines(items, message)},
                                         doing, false),
                              doing);
  const JsonView made(answer, "the answer of " + client.settings().endpoint);
  result.commit = made.at("commitOid").as_string();
  result.url = made.get_string("commitUrl", "");
  return result;
}

}  // namespace lowrank::data::hub
