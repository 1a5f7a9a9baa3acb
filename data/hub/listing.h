// What a repository holds at a revision, as the hub's API lists it.
#pragma once

#include <string>
#include <vector>

#include "lowrank/core/json.h"
#include "lowrank/data/hub/client.h"
#include "lowrank/data/hub/remote_file.h"
#include "lowrank/data/hub/repo.h"

namespace lowrank::data::hub {

struct Listing {
  std::string commit;             // 40 hex digits
  std::vector<RemoteFile> files;  // by path
};

/// The files of one page of the hub's list; what are none are passed over. FormatError as list_repo.
std::vector<RemoteFile> files_of_page(const core::JsonView& page);

/// MissingError where there is no such repository or revision, or none for this token; IoError; FormatError for a list
/// that cannot be (paths that lead out, hashes that are none).
Listing list_repo(Client& client, const Repo& repo);

/// The sentence for an answer that is no success; `doing`: "list the files of org/x". MissingError for 401, 403 and
/// 404, IoError for others.
[[noreturn]] void throw_status(const Client& client, const Repo& repo, const Response& response, const std::string& doing);

/// The JSON of an answer 2xx; FormatError where it is none. Others as throw_status.
core::Json json_of(const Client& client, const Repo& repo, const Response& response, const std::string& doing);

/// Where a file of a commit is downloaded from.
std::string file_url(const Settings& settings, const Repo& repo, const std::string& commit, const std::string& path);

}  // namespace lowrank::data::hub
