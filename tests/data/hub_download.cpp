// Downloads from the hub against a server that misbehaves: what ends in the cache is right, or nothing does.
#include <sys/mount.h>

#include <fstream>

#include "errors.h"
#include "hub_server.h"
#include "lowrank/data/hub/cache.h"
#include "lowrank/data/hub/choice.h"
#include "lowrank/data/hub/download.h"
#include "lowrank/data/hub/local_folder.h"

using namespace lowrank;
using namespace lowrank::data::hub;
using namespace lowrank_test;

namespace {

struct Stop {};

// Ends the work once so many bytes are there.
class StopAfter : public core::ProgressObserver {
 public:
  explicit StopAfter(std::int64_t bytes) : bytes_(bytes) {}
  void advance(std::int64_t done) override {
    if (done >= bytes_) throw Stop{};
  }
  void note(const std::string& message) override { notes.push_back(message); }
  std::vector<std::string> notes;

 private:
  std::int64_t bytes_;
};

const std::map<std::string, std::string> kFiles = {{"config.json", "{\"a\": 1}"},
                                                   {"model.safetensors", noise(300'000)},
                                                   {"sub/README.md", "card"},
                                                   {"empty.json", ""}};

struct Place {
  TempDir dir;
  FakeHub hub;
  Settings settings;
  Repo repo;

  explicit Place(std::map<std::string, std::string> files = kFiles, const std::string& api = "models") : hub(std::move(files), 1000, api) {
    settings.cache = dir / "hub";
    settings.endpoint = hub.endpoint();
    settings.token = "hf_secret";
    settings.token_file = dir / "token";
    settings.timeout = 2;
    settings.first_wait = 0.01;
    settings.part_bytes = 40'000;
    settings.connections = 4;
    repo.id = "org/tiny";
    if (api == "datasets") repo.type = RepoType::kDataset;
  }

  Downloaded fetch(core::ProgressObserver* observer = nullptr) {
    Client client(settings, observer);
    const Listing listing = list_repo(client, repo);
    const RepoCache cache(settings.cache, repo);
    cache.prepare();
    const Downloaded got = download(client, cache, repo, listing, listing.files);
    for (const RemoteFile& file : listing.files) cache.link(listing.commit, file);
    cache.write_ref(repo.revision, listing.commit);
    return got;
  }
  fs::path snapshot() const { return settings.cache / repo.folder() / "snapshots" / FakeHub::commit(); }
  fs::path incomplete(const std::string& path) const {
    return settings.cache / repo.folder() / "blobs" / (hub.hash(path) + ".incomplete");
  }
  void check_whole() {
    for (const char* path : {"config.json", "model.safetensors", "sub/README.md", "empty.json"}) {
      INFO(path);
      CHECK(read_text(snapshot() / path) == hub.file(path));
      CHECK(fs::is_symlink(snapshot() / path));
      CHECK_FALSE(fs::exists(incomplete(path)));
    }
  }
};

// The error's kind and words.
template <class Call>
void fails(Call call, ErrorKind kind, const std::vector<std::string>& words) {
  try {
    call();
  } catch (const Error& error) {
    INFO(error.what());
    CHECK(error.kind() == kind);
    for (const std::string& word : words) CHECK(std::string(error.what()).find(word) != std::string::npos);
    CHECK(std::string(error.what()).find("hf_secret") == std::string::npos);
    CHECK(std::string(error.what()).find("signature") == std::string::npos);
    return;
  }
  FAIL_CHECK("nothing was thrown");
}

}  // namespace

TEST_CASE("a repository comes into the cache as huggingface_hub lays it out", "[unit]") {
  Place place;
  const Downloaded got = place.fetch();
  CHECK(got.files == 4);
  CHECK(got.bytes == 300'000 + 8 + 4);
  place.check_whole();
  CHECK(fs::read_symlink(place.snapshot() / "config.json") == "../../blobs/" + place.hub.hash("config.json"));
  CHECK(fs::read_symlink(place.snapshot() / "sub/README.md") == "../../../blobs/" + place.hub.hash("sub/README.md"));
  CHECK(read_text(place.settings.cache / "models--org--tiny/refs/main") == FakeHub::commit());
  CHECK(find_snapshot(place.settings.cache, place.repo) == place.snapshot());
  CHECK(place.hub.cdn().count("model.safetensors") == 8);  // parts of 40,000 bytes
  // The second time there is nothing to bring.
  CHECK(place.fetch().files == 0);
  CHECK(place.hub.cdn().count("model.safetensors") == 8);
}

TEST_CASE("the token goes to the hub and nowhere else", "[unit]") {
  Place place;
  place.fetch();
  for (const Asked& ask : place.hub.hub().asked()) CHECK(ask.header("authorization") == "Bearer hf_secret");
  CHECK(place.hub.cdn().asked().size() > 0);
  for (const Asked& ask : place.hub.cdn().asked()) {
    CHECK(ask.header("authorization").empty());
    for (const auto& [name, value] : ask.headers) CHECK(value.find("hf_secret") == std::string::npos);
  }
  // An API that moves to another host is followed without it; within the host with it.
  Place other;
  other.hub.before_hub([&](const Asked& ask) -> std::optional<Reply> {
    if (ask.path == "/api/models/org/old/revision/main")
      return Reply{.status = 307, .headers = {"Location: /api/models/org/tiny/revision/main"}};
    return std::nullopt;
  });
  Client client(other.settings, nullptr);
  const Response moved = client.ask({.url = other.settings.endpoint + "/api/models/org/old/revision/main"}, "look");
  CHECK(moved.status == 200);
  CHECK(other.hub.hub().asked().back().header("authorization") == "Bearer hf_secret");
  CHECK(client.headers_for("http://localhost:" + std::to_string(other.hub.hub().port()) + "/").size() == 1);
  CHECK(client.headers_for("https://127.0.0.1:" + std::to_string(other.hub.hub().port()) + "/").size() == 1);
  CHECK(client.headers_for(other.settings.endpoint + ".evil.example/").size() == 1);
  CHECK(client.headers_for("http://127.0.0.1:" + std::to_string(other.hub.hub().port()) + "@evil.example/").size() == 1);
}

TEST_CASE("a line that is cut anywhere is gone on with where it was cut", "[unit]") {
  Place place;
  std::atomic<int> answers{0};
  place.hub.before_cdn([&](const Asked& ask) -> std::optional<Reply> {
    Reply reply = ranged(ask, place.hub.file("model.safetensors"));
    const int n = ++answers;
    if (n % 3 != 0) reply.cut = static_cast<std::size_t>(n) * 977 % 40'000;
    return reply;
  });
  const Downloaded got = place.fetch();
  place.check_whole();
  CHECK(got.bytes == 300'012);  // no byte twice
  CHECK(answers > 8);
}

TEST_CASE("an interrupted pull leaves its beginning, and the next one goes on from there", "[unit]") {
  for (const std::int64_t after : {1, 50'000, 170'000}) {
    Place place;
    place.hub.before_cdn([&](const Asked& ask) -> std::optional<Reply> {
      Reply reply = ranged(ask, place.hub.file("model.safetensors"));
      reply.pause_ms = 5;
      return reply;
    });
    StopAfter stop(after);
    CHECK_THROWS_AS(place.fetch(&stop), Stop);
    CHECK_FALSE(fs::exists(place.snapshot()));  // a snapshot that is there is whole
    const std::string part = read_text(place.incomplete("model.safetensors"));
    CHECK(part == place.hub.file("model.safetensors").substr(0, part.size()));
    place.hub.before_cdn(nullptr);
    const Downloaded got = place.fetch();
    CHECK(got.resumed == part.size());
    CHECK(got.bytes <= 300'012 - part.size());
    place.check_whole();
  }
}

TEST_CASE("what an earlier download left and is wrong is fetched again", "[unit]") {
  Place place;
  fs::create_directories(place.incomplete("model.safetensors").parent_path());
  SECTION("other bytes") { write_text(place.incomplete("model.safetensors"), std::string(100'000, 'x')); }
  SECTION("all bytes, but others") { write_text(place.incomplete("model.safetensors"), std::string(300'000, 'x')); }
  SECTION("more bytes than the file has") { write_text(place.incomplete("model.safetensors"), std::string(400'000, 'x')); }
  SECTION("all bytes already") { write_text(place.incomplete("model.safetensors"), place.hub.file("model.safetensors")); }
  place.fetch();
  place.check_whole();
}

TEST_CASE("a token that would go out unencrypted is warned of, whoever asks the hub", "[unit]") {
  struct Warned : core::ProgressObserver {
    void warning(const std::string& message) override { said.push_back(message); }
    std::vector<std::string> said;
  };
  const auto warnings = [](const std::string& endpoint, const std::string& token) {
    Warned warned;
    Settings settings;
    settings.endpoint = endpoint;
    settings.token = token;
    const Client client(settings, &warned);
    return warned.said;
  };
  const std::vector<std::string> said = warnings("http://hub.example", "hf_secret");
  REQUIRE(said.size() == 1);
  CHECK(said[0] == "http://hub.example is not encrypted: the token can be read on its way there");
  CHECK(warnings("http://hub.example", "").empty());
  CHECK(warnings("https://hub.example", "hf_secret").empty());
  CHECK(warnings("http://127.0.0.1:8080", "hf_secret").empty());
}

TEST_CASE("bytes of another hash are not kept", "[unit]") {
  Place place;
  std::string other = place.hub.file("model.safetensors");
  other[123'456] ^= 1;
  place.hub.before_cdn([&](const Asked& ask) -> std::optional<Reply> { return ranged(ask, other); });
  fails([&] { place.fetch(); }, ErrorKind::kIo, {"model.safetensors", "other bytes", "SHA-256"});
  CHECK_FALSE(fs::exists(place.snapshot()));
  CHECK_FALSE(fs::exists(place.incomplete("model.safetensors")));
  CHECK_FALSE(fs::exists(place.settings.cache / "models--org--tiny/refs/main"));
  Place small;
  small.hub.before_hub([&](const Asked& ask) -> std::optional<Reply> {
    if (ask.path.ends_with("config.json")) return Reply{.body = "{\"a\": 2}"};
    return std::nullopt;
  });
  fails([&] { small.fetch(); }, ErrorKind::kIo, {"config.json", "other bytes", "SHA-1"});
}

TEST_CASE("a server that sends more, less or other ranges than it announced is not believed", "[unit]") {
  Place place;
  SECTION("more") {
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> {
      return Reply{.status = 206, .headers = {"Content-Range: bytes 0-39999/300000"}, .body = std::string(90'000, 'x')};
    });
    fails([&] { place.fetch(); }, ErrorKind::kIo, {"sends too much: its answer was to end at byte 40000"});
    CHECK(fs::file_size(place.incomplete("model.safetensors")) <= 40'000);
  }
  SECTION("another size") {
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> {
      return Reply{.status = 206, .headers = {"Content-Range: bytes 0-39999/900000"}, .body = std::string(40'000, 'x')};
    });
    fails([&] { place.fetch(); }, ErrorKind::kIo, {"300000 bytes", "900000"});
  }
  SECTION("less, each time") {
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> {
      return Reply{.status = 206, .headers = {"Content-Range: bytes 0-39999/300000"}};
    });
    fails([&] { place.fetch(); }, ErrorKind::kIo, {"ended before its end"});
  }
  SECTION("no ranges at all: the whole file in one") {
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> { return Reply{.body = place.hub.file("model.safetensors")}; });
    place.fetch();
    place.check_whole();
  }
  SECTION("no ranges, and a beginning from before") {
    write_text(place.incomplete("model.safetensors"), place.hub.file("model.safetensors").substr(0, 1000));
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> { return Reply{.body = place.hub.file("model.safetensors")}; });
    place.fetch();
    place.check_whole();
  }
  SECTION("416 to a range that is there") {
    write_text(place.incomplete("model.safetensors"), place.hub.file("model.safetensors").substr(0, 1000));
    place.hub.before_cdn([&](const Asked& ask) -> std::optional<Reply> {
      if (!ask.header("range").starts_with("bytes=0-") && !ask.header("range").empty()) return Reply{.status = 416};
      return std::nullopt;
    });
    place.fetch();
    place.check_whole();
  }
  SECTION("416 always") {
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> { return Reply{.status = 416}; });
    fails([&] { place.fetch(); }, ErrorKind::kIo, {"does not give the bytes"});
  }
}

TEST_CASE("limits and troubles that pass are waited for; those that do not are one sentence", "[unit]") {
  Place place;
  std::atomic<int> n{0};
  SECTION("429 with Retry-After, then well") {
    place.hub.before_hub([&](const Asked&) -> std::optional<Reply> {
      if (++n == 1) return Reply{.status = 429, .headers = {"Retry-After: 1"}};
      return std::nullopt;
    });
    const auto begin = std::chrono::steady_clock::now();
    place.fetch();
    CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds(950));
    place.check_whole();
  }
  SECTION("429 that asks for an hour") {
    place.hub.before_hub([&](const Asked&) -> std::optional<Reply> {
      return Reply{.status = 429, .headers = {"RateLimit: \"api\";r=0;t=3600"}};
    });
    fails([&] { place.fetch(); }, ErrorKind::kIo, {"asks to wait 1:00:00", "429"});
  }
  SECTION("503 in the midst, then well") {
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> {
      if (++n % 2 == 0) return Reply{.status = 503};
      return std::nullopt;
    });
    place.fetch();
    place.check_whole();
  }
  SECTION("500 without end") {
    place.hub.before_hub([&](const Asked&) -> std::optional<Reply> { return Reply{.status = 500}; });
    fails([&] { place.fetch(); }, ErrorKind::kIo, {"HTTP 500", "list the files of org/tiny"});
    CHECK(place.hub.hub().asked().size() == 5);
  }
  SECTION("a line that says nothing") {
    place.settings.timeout = 1;
    place.settings.tries = 2;
    place.hub.before_cdn([&](const Asked& ask) -> std::optional<Reply> {
      Reply reply = ranged(ask, place.hub.file("model.safetensors"));
      if (++n == 1) reply.pause_ms = 2500;
      return reply;
    });
    place.fetch();
    place.check_whole();
  }
  SECTION("nobody there") {
    int port = 0;
    {
      const Server gone([](const Asked&) { return Reply{}; });
      port = gone.port();
    }
    place.settings.endpoint = "http://127.0.0.1:" + std::to_string(port);
    fails([&] { place.fetch(); }, ErrorKind::kIo, {"list the files of org/tiny", "127.0.0.1"});
  }
  SECTION("a signed address that runs out") {
    place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> {
      if (++n == 3) return Reply{.status = 403};
      return std::nullopt;
    });
    place.fetch();
    place.check_whole();
  }
}

TEST_CASE("who may not, or asks for what is not there, is told what to do", "[unit]") {
  Place place;
  const auto answer = [&](int status, std::vector<std::string> headers) {
    place.hub.before_hub([=](const Asked&) -> std::optional<Reply> { return Reply{.status = status, .headers = headers}; });
  };
  answer(403, {"X-Error-Code: GatedRepo", "X-Error-Message: Access to model org/tiny is restricted"});
  fails([&] { place.fetch(); }, ErrorKind::kMissing, {"org/tiny is gated", "HF_TOKEN", "is restricted", "/org/tiny"});
  answer(401, {});
  fails([&] { place.fetch(); }, ErrorKind::kMissing, {"the token was not accepted"});
  place.settings.token = "";
  fails([&] { place.fetch(); }, ErrorKind::kMissing, {"there is no model 'org/tiny'", "HF_TOKEN"});
  answer(404, {"X-Error-Code: RevisionNotFound"});
  fails([&] { place.fetch(); }, ErrorKind::kMissing, {"has no revision 'main'"});
  answer(404, {"X-Error-Code: RepoNotFound"});
  fails([&] { place.fetch(); }, ErrorKind::kMissing, {"there is no model 'org/tiny'", "404"});
  answer(200, {});
  fails([&] { place.fetch(); }, ErrorKind::kFormat, {"the answer of"});
  CHECK_FALSE(fs::exists(place.snapshot()));
}

TEST_CASE("a list that leads out of the cache, or cannot be, is refused whole", "[unit]") {
  for (const char* path : {"../../../evil", "/etc/evil", "a/../../evil", "a//b", "", "./a", "a/.", "a\\b", "a\nb", "a/"}) {
    INFO(path);
    Place place;
    place.hub.relist([&](core::Json& list) { list[1]["path"] = path; });
    fails([&] { place.fetch(); }, ErrorKind::kFormat, {"no place within a repository"});
    CHECK_FALSE(fs::exists(place.settings.cache / place.repo.folder()));
    CHECK_FALSE(fs::exists(place.dir / "evil"));
  }
  const auto refused = [](const std::function<void(core::Json&)>& change, const std::string& word) {
    Place place;
    place.hub.relist(change);
    fails([&] { place.fetch(); }, ErrorKind::kFormat, {word});
  };
  refused([](core::Json& list) { list[1]["oid"] = "../../x"; }, "no SHA-1");
  refused([](core::Json& list) { list[1]["size"] = -1; }, "size");
  refused([](core::Json& list) { list[1]["size"] = 1e30; }, "size");
  refused([](core::Json& list) { list[2]["path"] = list[1]["path"]; }, "twice");
  refused([](core::Json& list) { list = {{"a", 1}}; }, "no array");
  Place place;
  place.hub.before_hub([](const Asked& ask) -> std::optional<Reply> {
    if (ask.path.find("/revision/") != std::string::npos) return Reply{.body = R"({"sha": "../../x"})"};
    return std::nullopt;
  });
  fails([&] { place.fetch(); }, ErrorKind::kFormat, {"no commit"});
}

TEST_CASE("redirects to other schemes are not followed", "[unit]") {
  for (const char* where : {"file:///etc/passwd", "ftp://127.0.0.1/x", ""}) {
    Place place;
    place.hub.before_hub([&](const Asked& ask) -> std::optional<Reply> {
      if (ask.path.ends_with("model.safetensors")) return Reply{.status = 302, .headers = {std::string("Location: ") + where}};
      return std::nullopt;
    });
    fails([&] { place.fetch(); }, ErrorKind::kFormat, {"redirect"});
  }
  Response moved{.status = 302, .headers = {{"location", "http://example.com/x"}}, .body = ""};
  fails([&] { redirect_of("https://example.com/", moved); }, ErrorKind::kFormat, {"not encrypted"});
  Place place;
  place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> {
    return Reply{.status = 302, .headers = {"Location: /model.safetensors"}};
  });
  fails([&] { place.fetch(); }, ErrorKind::kIo, {"redirects without end"});
}

TEST_CASE("two pulls at once fetch each blob once", "[unit]") {
  Place place;
  place.hub.before_cdn([&](const Asked& ask) -> std::optional<Reply> {
    Reply reply = ranged(ask, place.hub.file("model.safetensors"));
    reply.pause_ms = 20;
    return reply;
  });
  StopAfter one(1'000'000), two(1'000'000);
  std::thread other([&] { place.fetch(&one); });
  place.fetch(&two);
  other.join();
  place.check_whole();
  CHECK(place.hub.cdn().count("model.safetensors") == 8);
  CHECK(one.notes.size() + two.notes.size() >= 1);  // who came second said what it waits for
}

TEST_CASE("a full disk is one sentence, before it is full and while it is written", "[unit]") {
  Place place;
  fs::create_directories(place.settings.cache);
  if (::mount("tmpfs", place.settings.cache.c_str(), "tmpfs", 0, "size=200k") != 0) LOWRANK_SKIP("no tmpfs can be mounted here");
  fails([&] { place.fetch(); }, ErrorKind::kIo, {"still needs 300.0 kB", "HF_HUB_CACHE"});
  CHECK_FALSE(fs::exists(place.snapshot()));
  // Filled by somebody else meanwhile.
  ::umount(place.settings.cache.c_str());
  REQUIRE(::mount("tmpfs", place.settings.cache.c_str(), "tmpfs", 0, "size=400k") == 0);
  place.hub.before_cdn([&](const Asked&) -> std::optional<Reply> {
    std::ofstream(place.settings.cache / "other", std::ios::binary) << std::string(300'000, 'x');
    return std::nullopt;
  });
  fails([&] { place.fetch(); }, ErrorKind::kIo, {"No space left on device"});
  CHECK_FALSE(fs::exists(place.snapshot()));
  fs::remove(place.settings.cache / "other");
  place.hub.before_cdn(nullptr);
  place.fetch();
  place.check_whole();
  ::umount(place.settings.cache.c_str());
}

TEST_CASE("a proxy of the environment is gone through, but not to this machine", "[unit]") {
  const Server proxy([](const Asked& ask) { return Reply{.body = ask.path + " " + ask.header("host")}; });
  for (const char* name : {"http_proxy", "HTTP_PROXY"}) {
    const std::optional<std::string> before = std::getenv(name) ? std::optional<std::string>(std::getenv(name)) : std::nullopt;
    ::setenv(name, proxy.url().c_str(), 1);
    Place place;
    place.settings.endpoint = "http://hub.example";
    Client client(place.settings, nullptr);
    CHECK(client.ask({.url = "http://hub.example/api/x?y=1"}, "look").body == "http://hub.example/api/x hub.example");
    CHECK(client.ask({.url = place.hub.endpoint() + "/nothing"}, "look").status == 404);
    before ? ::setenv(name, before->c_str(), 1) : ::unsetenv(name);
  }
}

TEST_CASE("a list of many pages is read whole, from the hub alone", "[unit]") {
  Place place;
  std::string next = place.settings.endpoint;
  place.hub.before_hub([&](const Asked& ask) -> std::optional<Reply> {
    if (ask.path.find("/tree/") == std::string::npos || ask.query.find("cursor") != std::string::npos) return std::nullopt;
    const std::string file = R"([{"type": "file", "path": "LICENSE", "size": 0, "oid": ")" + git_sha1("") + "\"}]";
    return Reply{.headers = {"Link: <" + next + ask.path + "?recursive=true&cursor=2>; rel=\"next\""}, .body = file};
  });
  {
    Client client(place.settings, nullptr);
    const Listing listing = list_repo(client, place.repo);
    CHECK(listing.files.size() == 5);
    CHECK(listing.files.front().path == "LICENSE");
  }
  next = "http://localhost:" + std::to_string(place.hub.hub().port());
  fails([&] { place.fetch(); }, ErrorKind::kFormat, {"another server"});
}

TEST_CASE("a folder of the user's own has the files by their names, and what huggingface_hub notes of them", "[unit]") {
  using State = LocalFolder::State;
  Place place;
  const fs::path dir = place.dir / "model", notes = dir / ".cache/huggingface/download";
  Client client(place.settings, nullptr);
  const Listing listing = list_repo(client, place.repo);
  const LocalFolder folder(dir, listing);
  const auto fetch = [&] {
    folder.prepare();
    return download(client, folder, place.repo, listing, listing.files);
  };
  CHECK_FALSE(LocalFolder::is_one(dir));
  CHECK(fetch().files == 4);
  CHECK(LocalFolder::is_one(dir));
  for (const RemoteFile& file : listing.files) {
    INFO(file.path);
    CHECK(read_text(dir / file.path) == place.hub.file(file.path));
    CHECK_FALSE(fs::is_symlink(dir / file.path));
    CHECK(folder.state(file) == State::kCurrent);
    const std::string note = read_text(notes / (file.path + ".metadata"));
    CHECK(note.starts_with(FakeHub::commit()));
    CHECK(note.substr(40).starts_with("\n" + file.hash + "\n"));
  }
  CHECK(read_text(dir / ".cache/huggingface/.gitignore") == "*");
  CHECK(fetch().files == 0);
  const auto file = [&](const std::string& path) {
    return *std::find_if(listing.files.begin(), listing.files.end(), [&](const RemoteFile& one) { return one.path == path; });
  };

  // The hub has another file since; the user has written into one; one is the hub's without a note.
  RemoteFile newer = file("config.json");
  newer.hash = std::string(40, 'a');
  CHECK(folder.state(newer) == State::kOlder);
  fs::remove(notes / "config.json.metadata");
  CHECK(folder.state(newer) == State::kOther);
  CHECK(folder.state(file("config.json")) == State::kCurrent);
  write_text(dir / "sub/README.md", "mine");
  fs::last_write_time(dir / "sub/README.md", fs::file_time_type::clock::now() + std::chrono::seconds(5));
  CHECK(folder.state(file("sub/README.md")) == State::kOther);
  fs::remove(dir / "model.safetensors");
  CHECK(folder.state(file("model.safetensors")) == State::kMissing);
  for (const char* broken : {"", "x", "a b c", "\0\1\2"}) {
    write_text(notes / "empty.json.metadata", broken);
    CHECK(folder.state(file("empty.json")) == State::kCurrent);
  }

  // Gone on with where it was cut, under the name that huggingface_hub gives the beginning.
  write_text(folder.incomplete(file("model.safetensors")), place.hub.file("model.safetensors").substr(0, 70'000));
  const Downloaded got = fetch();
  CHECK(got.resumed == 70'000);
  CHECK(read_text(dir / "model.safetensors") == place.hub.file("model.safetensors"));
  CHECK(read_text(dir / "sub/README.md") == "card");
  // The SHA-1 of "model.safetensors.metadata" in base64.
  CHECK(folder.incomplete(file("model.safetensors")).filename() ==
        "xGOKKLRSlIhH692hSVvI1-gpoa8=." + place.hub.hash("model.safetensors") + ".incomplete");

  // What the cache has is copied; what it has wrongly is not believed.
  place.fetch();
  const RepoCache cache(place.settings.cache, place.repo);
  fs::remove_all(dir);
  folder.prepare();
  CHECK(folder.take_from(cache, file("model.safetensors")));
  CHECK(read_text(dir / "model.safetensors") == place.hub.file("model.safetensors"));
  fs::remove(dir / "model.safetensors");
  write_text(cache.place(file("model.safetensors")), std::string(300'000, 'x'));
  CHECK_FALSE(folder.take_from(cache, file("model.safetensors")));
  CHECK(folder.state(file("model.safetensors")) == State::kMissing);

  Place other(std::map<std::string, std::string>{{".cache/huggingface/download/config.json.metadata", "x"}});
  Client second(other.settings, nullptr);
  fails([&] { LocalFolder(other.dir / "m", list_repo(second, other.repo)); }, ErrorKind::kFormat, {"local-dir", ".cache/huggingface"});
}

TEST_CASE("what lies in Xet storage comes by the plain way that the hub keeps for it", "[unit]") {
  Place place;
  place.hub.relist([](core::Json& list) {
    for (core::Json& file : list)
      if (file.contains("lfs")) file["xetHash"] = std::string(64, 'e');
  });
  const std::string auth = "Link: <" + place.settings.endpoint + "/api/models/org/tiny/xet-read-token/x>; rel=\"xet-auth\"";
  place.hub.before_hub([&](const Asked& ask) -> std::optional<Reply> {
    if (ask.path.find("/tree/") != std::string::npos && ask.query.find("cursor") == std::string::npos) {
      const std::string file = R"([{"type": "file", "path": "LICENSE", "size": 0, "oid": ")" + git_sha1("") + "\"}]";
      return Reply{.headers = {"Link: <" + place.settings.endpoint + ask.path + "?recursive=true&cursor=2>; rel=\"next\"", auth},
                   .body = file};
    }
    if (!ask.path.ends_with("/model.safetensors")) return std::nullopt;
    return Reply{.status = 302,
                 .headers = {"X-Xet-Hash: " + std::string(64, 'e'), "X-Linked-Size: 300000",
                             auth + ", <https://cas.example/v1/x>; rel=\"xet-reconstruction-info\"",
                             "X-Linked-ETag: \"" + place.hub.hash("model.safetensors") + "\"",
                             "Location: " + place.hub.cdn().url("localhost") + "/model.safetensors?X-Xet-Signature=secret"}};
  });
  place.fetch();
  place.check_whole();
  CHECK(fs::exists(place.snapshot() / "LICENSE"));
  CHECK(place.hub.hub().count("xet") == 0);
}
