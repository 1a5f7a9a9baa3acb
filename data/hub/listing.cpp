#include "lowrank/data/hub/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "lowrank/core/error.h"
#include "lowrank/core/progress_scope.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/cache.h"

namespace lowrank::data::hub {
namespace {

constexpr std::size_t kMostFiles = 1'000'000;

bool is_hex(const std::string& text, std::size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == text.npos;
}

// The address in `Link: <...>; rel="next"`; empty where there is none.
std::string next_page(const Response& response) {
  const std::string link = response.header("link");
  const std::size_t next = link.find("rel=\"next\"");
  if (next == link.npos) return "";
  const std::size_t open = link.rfind('<', next), close = link.find('>', open == link.npos ? 0 : open);
  return open == link.npos || close == link.npos || close > next ? "" : link.substr(open + 1, close - open - 1);
}

RemoteFile file_of(const core::JsonView& entry, const std::string& where) {
  RemoteFile file;
  file.path = entry.at("path").as_string();
  check_remote_path(file.path, where);
  constexpr std::int64_t kMost = std::int64_t{1} << 50;
  file.size = static_cast<std::uint64_t>(entry.at("size").as_int(0, kMost));
  file.hash = entry.at("oid").as_string();
  if (entry.has_value("lfs")) {
    const core::JsonView lfs = entry.at("lfs");
    file.hash = lfs.at("oid").as_string();
    if (file.hash.starts_with("sha256:")) file.hash.erase(0, 7);
    file.size = static_cast<std::uint64_t>(lfs.at("size").as_int(0, kMost));
    if (!is_hex(file.hash, 64)) lfs.fail("its oid is no SHA-256");
  } else if (!is_hex(file.hash, 40)) {
    entry.fail("its oid is no SHA-1");
  }
  return file;
}

std::string in_words(const Response& response) {
  std::string words = response.header("x-error-message");
  if (words.empty() && response.body.starts_with('{')) {
    try {
      words = core::JsonView(core::parse_json(response.body, "answer"), "answer").get_string("error", "");
    } catch (const Error&) {
    }
  }
  return words.empty() ? "" : ", \"" + core::printable(words, 200) + "\"";
}

}  // namespace

void throw_status(const Client& client, const Repo& repo, const Response& response, const std::string& doing) {
  const Settings& settings = client.settings();
  const std::string code = response.header("x-error-code"), name = repo.url_name();
  const std::string answer = fmt::format("{} answers HTTP {}{}", settings.endpoint, response.status, in_words(response));
  const std::string give = fmt::format("put a token of an account that has access into HF_TOKEN or {}",
                                       settings.token_file.string());
  if (code == "GatedRepo" || (response.status == 403 && settings.token.empty())) {
    throw MissingError(fmt::format("cannot {}: {} is gated: ask for access at {}/{} and {} ({})", doing, name,
                                   settings.endpoint, name, give, answer));
  }
  if (response.status == 401 && !settings.token.empty() && code != "RepoNotFound") {
    throw MissingError(fmt::format("cannot {}: the token was not accepted; make a new one at {}/settings/tokens and put it "
                                   "into HF_TOKEN or {} ({})",
                                   doing, settings.endpoint, settings.token_file.string(), answer));
  }
  if (response.status == 403) {
    throw MissingError(fmt::format("cannot {}: the token does not allow it; give one with the rights for {} ({})", doing,
                                   name, answer));
  }
  if (code == "RevisionNotFound") {
    throw MissingError(fmt::format("cannot {}: {} has no revision '{}' ({})", doing, name, repo.revision, answer));
  }
  if (response.status == 401 || response.status == 404) {
    const std::string access = settings.token.empty() ? "; for a private one " + give : "; or the token has no access to it";
    throw MissingError(fmt::format("cannot {}: there is no {} '{}' at {}: check the name{} ({})", doing,
                                   repo.type == RepoType::kModel ? "model" : "data set", repo.id, settings.endpoint, access,
                                   answer));
  }
  throw IoError(fmt::format("cannot {}: {}; the same command later goes on from what is here", doing, answer));
}

core::Json json_of(const Client& client, const Repo& repo, const Response& response, const std::string& doing) {
  if (response.status < 200 || response.status > 299) throw_status(client, repo, response, doing);
  return core::parse_json(response.body, fmt::format("the answer of {}", client.settings().endpoint));
}

std::string file_url(const Settings& settings, const Repo& repo, const std::string& commit, const std::string& path) {
  return fmt::format("{}/{}/resolve/{}/{}", settings.endpoint, repo.url_name(), commit, quoted_for_url(path, true));
}

std::vector<RemoteFile> files_of_page(const core::JsonView& page) {
  if (!page.is_array()) page.fail("the list of files is no array");
  std::vector<RemoteFile> files;
  for (std::size_t i = 0; i < page.size(); ++i) {
    const core::JsonView entry = page.at(i);
    if (entry.at("type").as_string() == "file") files.push_back(file_of(entry, page.where()));
  }
  return files;
}

Listing list_repo(Client& client, const Repo& repo) {
  const std::string doing = "list the files of " + repo.spelled();
  const std::string api = client.settings().endpoint + "/api/" + repo.api_name();
  const std::string where = fmt::format("the answer of {} about {}", client.settings().endpoint, repo.spelled());
  const core::ProgressScope progress(client.observer(), "listing " + repo.spelled(), 0, "files");
  client.set_done(0);
  Listing listing;
  {
    const Response response = client.ask({.url = api + "/revision/" + quoted_for_url(repo.revision, false)}, doing);
    const core::Json json = json_of(client, repo, response, doing);
    const core::JsonView info(json, where);
    listing.commit = info.at("sha").as_string();
    if (!is_commit_name(listing.commit)) info.fail("its sha is no commit of git");
    if (repo.is_commit() && listing.commit != repo.revision) info.fail("its sha is another commit than was asked for");
  }
  std::set<std::string> seen;
  for (std::string url = api + "/tree/" + listing.commit + "?recursive=true"; !url.empty();) {
    const Response response = client.ask({.url = url}, doing);
    const core::Json json = json_of(client, repo, response, doing);
    const core::JsonView page(json, where);
    for (RemoteFile& file : files_of_page(page)) {
      if (!seen.insert(file.path).second) page.fail("'" + core::printable(file.path, 120) + "' is listed twice");
      listing.files.push_back(std::move(file));
      if (listing.files.size() > kMostFiles) page.fail(fmt::format("more than {} files", kMostFiles));
    }
    client.set_done(static_cast<std::int64_t>(listing.files.size()));
    const std::string next = next_page(response);
    if (!next.empty() && page.size() == 0) page.fail("an empty page is followed by another");
    if (!next.empty() && !same_origin(next, client.settings().endpoint)) page.fail("its next page is on another server");
    url = next;
  }
  std::sort(listing.files.begin(), listing.files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return listing;
}

}  // namespace lowrank::data::hub
