// Pushes against a server that takes them as the hub does.
#include "errors.h"
#include "hub_server.h"
#include "lowrank/data/hub/upload.h"

using namespace lowrank;
using namespace lowrank::data::hub;
using namespace lowrank_test;

namespace {

using core::Json;

// What of a hub a push speaks to: it keeps what it is given.
class Receiver {
 public:
  Receiver() : server_([this](const Asked& ask) { return answer(ask); }) {}

  Settings settings() {
    Settings settings;
    settings.endpoint = server_.url();
    settings.token = "hf_secret";
    settings.token_file = "/nowhere/token";
    settings.timeout = 2;
    settings.first_wait = 0.01;
    settings.connections = 3;
    return settings;
  }

  Server& server() { return server_; }
  std::vector<Json> commit;                    // its lines
  std::map<std::string, std::string> objects;  // LFS, by oid
  std::map<std::string, std::string> there;    // oid by path, of what the repository has
  std::size_t chunk = 0;                       // 0: whole
  int created = 0, verified = 0, failing = 0;
  bool exists = true, well = true;  // well: what came was as it should be
  Json create_body;

 private:
  Reply answer(const Asked& ask) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::string api = "/api/models/org/mine/";
    if (ask.path == "/api/repos/create") {
      create_body = Json::parse(ask.body);
      if (exists) return {.status = 409};
      ++created;
      exists = true;
      return {.body = "{}"};
    }
    if (!exists) return {.status = 404, .headers = {"X-Error-Code: RepoNotFound"}};
    if (ask.path == api + "preupload/main") {
      Json files = Json::array();
      const Json asked = Json::parse(ask.body);
      for (const Json& file : asked["files"]) {
        const std::string path = file["path"];
        Json one = {{"path", path}, {"uploadMode", path.ends_with(".safetensors") ? "lfs" : "regular"}, {"shouldIgnore", path == "ignored.json"}};
        if (there.contains(path)) one["oid"] = there[path];
        files.push_back(one);
      }
      return {.body = Json({{"files", files}}).dump()};
    }
    if (ask.path == "/org/mine.git/info/lfs/objects/batch") {
      Json objects_now = Json::array();
      const Json asked = Json::parse(ask.body);
      for (const Json& object : asked["objects"]) {
        const std::string oid = object["oid"];
        Json one = object;
        if (!objects.contains(oid)) {
          Json upload = {{"href", server_.url("localhost") + "/put/" + oid}};
          if (chunk > 0) {
            upload["href"] = server_.url() + "/complete/" + oid;
            upload["header"] = {{"chunk_size", std::to_string(chunk)}};
            const std::size_t parts = (object["size"].get<std::size_t>() + chunk - 1) / chunk;
            for (std::size_t i = 1; i <= parts; ++i)
              upload["header"][i < 10 ? "0000" + std::to_string(i) : "000" + std::to_string(i)] =
                  server_.url("localhost") + "/part/" + std::to_string(i) + "/" + oid + "?signature=x";
          }
          one["actions"] = {{"upload", upload}, {"verify", {{"href", server_.url() + "/verify/" + oid}}}};
        }
        objects_now.push_back(one);
      }
      return {.body = Json({{"transfer", "basic"}, {"objects", objects_now}}).dump()};
    }
    if (failing > 0 && ask.method == "PUT") return --failing, Reply{.status = 503};
    if (ask.path.starts_with("/put/")) return objects[ask.path.substr(5)] = ask.body, Reply{};
    if (ask.path.starts_with("/part/")) {
      const std::size_t slash = ask.path.find('/', 6);
      parts_[ask.path.substr(slash + 1)][std::stoi(ask.path.substr(6))] = ask.body;
      return {.headers = {"ETag: \"e" + ask.path.substr(6, slash - 6) + "\""}};
    }
    if (ask.path.starts_with("/complete/")) {
      const Json body = Json::parse(ask.body);
      std::string& whole = objects[body["oid"]];
      for (const Json& part : body["parts"]) {
        well = well && part["etag"] == "\"e" + std::to_string(part["partNumber"].get<int>()) + "\"";
        whole += parts_[body["oid"]][part["partNumber"]];
      }
      return {};
    }
    if (ask.path.starts_with("/verify/")) return ++verified, Reply{};
    if (ask.path == api + "commit/main") {
      well = well && ask.header("content-type") == "application/x-ndjson";
      std::istringstream lines(ask.body);
      commit.clear();
      for (std::string line; std::getline(lines, line);) commit.push_back(Json::parse(line));
      return {.body = R"({"success": true, "commitOid": "abc", "commitUrl": "http://hub/commit/abc"})"};
    }
    return {.status = 404};
  }

  std::mutex mutex_;
  std::map<std::string, std::map<int, std::string>> parts_;
  Server server_;
};

struct Folder {
  TempDir dir;
  std::vector<LocalFile> files;
  void add(const std::string& path, const std::string& bytes) {
    write_text(dir / path, bytes);
    files.push_back({path, core::FileRef::within(dir.path(), dir / path), bytes.size()});
  }
};

}  // namespace

TEST_CASE("a push is one commit: small files in it, large ones by LFS, whole or in parts", "[unit]") {
  for (const std::size_t chunk : {std::size_t{0}, std::size_t{30'000}, std::size_t{100'000}}) {
    INFO(chunk);
    Receiver hub;
    hub.chunk = chunk;
    hub.failing = 2;
    Folder folder;
    folder.add("README.md", "hello");
    folder.add("adapter_config.json", "{\"r\": 8}");
    folder.add("adapter_model.safetensors", noise(100'000));
    folder.add("empty.safetensors", "");
    folder.add("ignored.json", "{}");
    const Settings settings = hub.settings();
    Client client(settings, nullptr);
    const Pushed pushed = upload(client, {.id = "org/mine"}, folder.files, "First line\n\nand more");
    CHECK(pushed.commit == "abc");
    CHECK(pushed.url == "http://hub/commit/abc");
    CHECK(pushed.bytes == 100'000 + 5 + 8);
    const std::string oid = core::sha256(noise(100'000));
    CHECK(hub.objects.size() == 1);
    CHECK(hub.objects[oid] == noise(100'000));
    CHECK(hub.verified == 1);
    CHECK(hub.well);
    REQUIRE(hub.commit.size() == 5);
    CHECK(hub.commit[0]["value"] == Json({{"summary", "First line"}, {"description", "and more"}}));
    CHECK(hub.commit[1] == Json({{"key", "file"}, {"value", {{"path", "README.md"}, {"content", "aGVsbG8="}, {"encoding", "base64"}}}}));
    CHECK(hub.commit[2]["value"]["content"] == "eyJyIjogOH0=");
    CHECK(hub.commit[3] == Json({{"key", "lfsFile"}, {"value", {{"path", "adapter_model.safetensors"}, {"algo", "sha256"}, {"oid", oid}, {"size", 100'000}}}}));
    CHECK(hub.commit[4]["key"] == "file");  // an empty file is none of LFS
    for (const Asked& ask : hub.server().asked()) {
      INFO(ask.path);
      const bool storage = ask.path.starts_with("/put/") || ask.path.starts_with("/part/");
      CHECK(ask.header("authorization") == (storage ? "" : "Bearer hf_secret"));
    }
  }
}

TEST_CASE("what is there already is not sent again", "[unit]") {
  Receiver hub;
  Folder folder;
  folder.add("README.md", "hello");
  folder.add("adapter_model.safetensors", noise(5000));
  const Settings settings = hub.settings();
  Client client(settings, nullptr);
  hub.there = {{"README.md", git_sha1("hello")}};
  Pushed pushed = upload(client, {.id = "org/mine"}, folder.files, "m");
  CHECK(pushed.unchanged == 1);
  CHECK(hub.commit.size() == 2);
  hub.there["adapter_model.safetensors"] = core::sha256(noise(5000));
  hub.commit.clear();
  pushed = upload(client, {.id = "org/mine"}, folder.files, "m");
  CHECK(pushed.commit.empty());
  CHECK(pushed.unchanged == 2);
  CHECK(hub.commit.empty());
  // The storage has it by another name: no byte goes there.
  hub.there.clear();
  const int before = hub.server().count("/put/");
  upload(client, {.id = "org/mine"}, folder.files, "m");
  CHECK(hub.server().count("/put/") == before);
}

TEST_CASE("a repository is made, or is there", "[unit]") {
  Receiver hub;
  hub.exists = false;
  const Settings settings = hub.settings();
  Client client(settings, nullptr);
  Folder folder;
  folder.add("README.md", "hello");
  CHECK(contains(message_of<MissingError>([&] { upload(client, {.id = "org/mine"}, folder.files, "m"); }), "there is no model 'org/mine'"));
  create_repo(client, {.id = "org/mine"}, true);
  CHECK(hub.created == 1);
  CHECK(hub.create_body == Json({{"name", "mine"}, {"organization", "org"}, {"type", "model"}, {"private", true}}));
  create_repo(client, {.id = "org/mine"}, true);
  CHECK(hub.created == 1);
}

TEST_CASE("answers to a push that cannot be are refused", "[unit]") {
  const auto refused = [](const std::string& batch, const std::string& word) {
    const Server server([&](const Asked& ask) {
      if (ask.path.find("/preupload/") != std::string::npos)
        return Reply{.body = R"({"files": [{"path": "m.safetensors", "uploadMode": "lfs", "shouldIgnore": false}]})"};
      return Reply{.body = batch};
    });
    Settings settings;
    settings.endpoint = server.url();
    settings.token = "hf_secret";
    Client client(settings, nullptr);
    Folder folder;
    folder.add("m.safetensors", "12345");
    INFO(batch);
    CHECK(contains(message_of<Error>([&] { upload(client, {.id = "org/mine"}, folder.files, "m"); }), word));
  };
  const std::string oid = core::sha256("12345");
  const auto object = [&](const std::string& rest) { return R"({"objects": [{"oid": ")" + oid + R"(", "size": 5)" + rest + "}]}"; };
  refused(object(R"(, "actions": {"upload": {"href": "file:///etc/passwd"}})"), "no address of https");
  refused(object(R"(, "actions": {"upload": {"href": "http://x/", "header": {"chunk_size": "2", "1": "http://x/1"}}})"), "parts");
  refused(object(R"(, "actions": {"upload": {"href": "http://x/", "header": {"chunk_size": "0"}}})"), "parts");
  refused(object(R"(, "error": {"code": 413, "message": "too large"})"), "too large");
  refused(R"({"objects": [{"oid": "00", "size": 5}]})", "not asked about");
  std::string xet = object(R"(, "actions": {"upload": {"href": "https://cas.example", "header": {"X-Xet-Cas-Url": "https://cas.example"}}})");
  refused(R"({"transfer": "xet", )" + xet.substr(1), "by the transfer 'xet' alone, which is not spoken here; `hf upload`");
  refused("{}", "objects");
  refused("nonsense", "answer");
}
