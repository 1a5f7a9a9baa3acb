#include "lowrank/data/hub/lfs.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>

#include "lowrank/core/error.h"
#include "lowrank/core/json.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/data/hub/listing.h"

namespace lowrank::data::hub {
namespace {

using core::Json;
using core::JsonView;
using Clock = std::chrono::steady_clock;

struct Piece {
  std::string url;
  std::span<const std::byte> bytes;
  std::string etag;  // once it is there
  std::unique_ptr<Transfer> transfer;
  int tries = 0;
  bool done = false;
  Clock::time_point not_before{};
};

std::string href_of(const Client& client, const JsonView& action) {
  const std::string href = action.at("href").as_string();
  const bool encrypted = href.starts_with("https://");
  if (!encrypted && (!href.starts_with("http://") || client.settings().endpoint.starts_with("https://"))) {
    action.fail("its href is no address of https");
  }
  return href;
}

// One piece; or several of chunk_size bytes, whose addresses stand in the header under 1, 2, ….
std::vector<Piece> pieces_of(const Client& client, const JsonView& upload, std::span<const std::byte> bytes, bool& parts) {
  parts = upload.has_value("header") && upload.at("header").has_value("chunk_size");
  if (!parts) {
    Piece whole;
    whole.url = href_of(client, upload);
    whole.bytes = bytes;
    std::vector<Piece> pieces;
    pieces.push_back(std::move(whole));
    return pieces;
  }
  const JsonView header = upload.at("header"), chunk = header.at("chunk_size");
  std::uint64_t size = 0;
  if (chunk.is_number()) {
    size = static_cast<std::uint64_t>(chunk.as_int(1, std::int64_t{1} << 40));
  } else {
    const std::string text = chunk.as_string();
    if (text.empty() || text.size() > 13 || text.find_first_not_of("0123456789") != text.npos) chunk.fail("no number");
    size = std::stoull(text);
  }
  std::map<std::uint64_t, std::string> urls;
  for (const std::string& key : header.keys()) {
    if (key.empty() || key.size() > 9 || key.find_first_not_of("0123456789") != key.npos) continue;
    urls[std::stoull(key)] = header.at(key).as_string();
  }
  if (size == 0 || urls.size() != (bytes.size() + size - 1) / size) {
    header.fail(fmt::format("{} parts of {} bytes are no file of {}", urls.size(), size, bytes.size()));
  }
  std::vector<Piece> pieces;
  for (const auto& [number, url] : urls) {
    const Json action = {{"href", url}};
    Piece piece;
    piece.url = href_of(client, JsonView(action, header.where()));
    const std::size_t begin = pieces.size() * size;
    piece.bytes = bytes.subspan(begin, std::min<std::size_t>(size, bytes.size() - begin));
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

void finished(Client& client, const Repo& repo, Piece& piece, const std::string& doing) {
  const std::unique_ptr<Transfer> over = std::move(piece.transfer);
  const Response& response = over->response;
  if (over->failure.text.empty() && response.status >= 200 && response.status < 300) {
    piece.etag = response.header("etag");
    piece.done = true;
    return;
  }
  const bool failed = !over->failure.text.empty();
  if ((failed && over->failure.lasting) || (!failed && !is_passing(response.status)) ||
      ++piece.tries >= client.settings().tries) {
    if (!failed) throw_status(client, repo, response, doing);
    throw IoError(fmt::format("cannot {}: {}: {}", doing, shown_url(piece.url), core::printable(over->failure.text, 200)));
  }
  const double seconds = client.wait_before(piece.tries, response, doing);
  piece.not_before = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// All pieces, some at a time. `done`: bytes before these.
void put(Client& client, const Repo& repo, std::vector<Piece>& pieces, const std::string& doing, std::uint64_t done) {
  while (true) {
    int active = 0;
    std::uint64_t sent = done;
    bool all = true;
    for (Piece& piece : pieces) {
      if (piece.done) sent += piece.bytes.size();
      all = all && piece.done;
      if (piece.transfer != nullptr) ++active;
    }
    client.set_done(static_cast<std::int64_t>(sent));
    if (client.observer() != nullptr) client.observer()->advance(static_cast<std::int64_t>(sent));
    if (all) return;
    for (Piece& piece : pieces) {
      if (active >= client.settings().connections) break;
      if (piece.done || piece.transfer != nullptr || piece.not_before > Clock::now()) continue;
      piece.transfer = std::make_unique<Transfer>(
          Request{.method = "PUT", .url = piece.url, .headers = client.headers_for(piece.url), .file = piece.bytes});
      client.connections().start(*piece.transfer);
      ++active;
    }
    for (const Transfer* over : client.connections().wait(100)) {
      for (Piece& piece : pieces) {
        if (piece.transfer.get() == over) finished(client, repo, piece, doing);
      }
    }
  }
}

const std::vector<std::string> kLfs = {"Accept: application/vnd.git-lfs+json", "Content-Type: application/vnd.git-lfs+json"};

void check(const Client& client, const Repo& repo, const Response& response, const std::string& doing) {
  if (response.status < 200 || response.status > 299) throw_status(client, repo, response, doing);
}

void send(Client& client, const Repo& repo, const LfsFile& file, const JsonView& actions, std::uint64_t done) {
  const std::string doing = "upload " + core::printable(file.path, 120);
  const JsonView upload = actions.at("upload");
  bool parts = false;
  std::vector<Piece> pieces = pieces_of(client, upload, file.bytes, parts);
  put(client, repo, pieces, doing, done);
  if (parts) {
    Json complete = {{"oid", file.oid}, {"parts", Json::array()}};
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].etag.empty()) throw FormatError(fmt::format("cannot {}: part {} was taken without an ETag", doing, i + 1));
      complete["parts"].push_back({{"partNumber", i + 1}, {"etag", pieces[i].etag}});
    }
    check(client, repo,
          client.ask({.method = "POST", .url = href_of(client, upload), .headers = kLfs, .body = core::json_text(complete)}, doing), doing);
  }
  if (actions.has_value("verify")) {
    const Json body = {{"oid", file.oid}, {"size", file.bytes.size()}};
    check(client, repo,
          client.ask({.method = "POST", .url = href_of(client, actions.at("verify")),
                      .headers = {"Content-Type: application/json"}, .body = core::json_text(body)},
                     doing),
          doing);
  }
}

}  // namespace

std::uint64_t send_lfs(Client& client, const Repo& repo, const std::vector<LfsFile>& files, std::uint64_t done) {
  const std::string doing = "upload to " + repo.spelled();
  const std::string url = fmt::format("{}/{}.git/info/lfs/objects/batch", client.settings().endpoint, repo.url_name());
  std::uint64_t bytes = 0;
  for (std::size_t begin = 0; begin < files.size(); begin += 100) {
    const std::span<const LfsFile> some = std::span(files).subspan(begin, std::min<std::size_t>(100, files.size() - begin));
    Json ask = {{"operation", "upload"}, {"transfers", {"basic", "multipart"}}, {"objects", Json::array()},
                {"hash_algo", "sha256"}, {"ref", {{"name", repo.revision}}}};
    for (const LfsFile& file : some) ask["objects"].push_back({{"oid", file.oid}, {"size", file.bytes.size()}});
    const Response answered = client.ask({.method = "POST", .url = url, .headers = kLfs, .body = core::json_text(ask)}, doing);
    const Json answer = json_of(client, repo, answered, doing);
    const JsonView batch(answer, "the answer of " + client.settings().endpoint);
    const std::string transfer = batch.get_string("transfer", "basic");
    const JsonView objects = batch.at("objects");
    for (std::size_t i = 0; i < objects.size(); ++i) {
      const JsonView object = objects.at(i);
      const std::string oid = object.at("oid").as_string();
      const auto file = std::find_if(some.begin(), some.end(), [&](const LfsFile& one) { return one.oid == oid; });
      if (file == some.end()) object.fail("an oid that was not asked about");
      if (object.has_value("error")) {
        throw IoError(fmt::format("cannot {}: {} refuses {}: {}", doing, client.settings().endpoint,
                                  core::printable(file->path, 120),
                                  core::printable(object.at("error").get_string("message", "it does not say why"), 200)));
      }
      if (!object.has_value("actions")) continue;  // it has it
      if (transfer != "basic" && transfer != "multipart") {
        throw FormatError(fmt::format("cannot {}: {} takes large files by the transfer '{}' alone, which is not spoken here; "
                                      "`hf upload` of huggingface_hub (with hf_xet) sends them",
                                      doing, client.settings().endpoint, core::printable(transfer, 40)));
      }
      send(client, repo, *file, object.at("actions"), done + bytes);
      bytes += file->bytes.size();
    }
  }
  return bytes;
}

}  // namespace lowrank::data::hub
