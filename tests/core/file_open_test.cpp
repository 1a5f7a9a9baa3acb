// Where links may lead: beneath the folder, for the kernel's walk and for ours.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "core/expect_error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/core/system.h"

using namespace lowrank::core;
using lowrank_test::read_text;
using lowrank_test::TempDir;
using lowrank_test::write_text;

namespace {

// A folder of another's, and a secret beside it.
struct Folder {
  TempDir dir;
  fs::path model = dir / "model", secret = dir / "secret.json";
  Folder() {
    write_text(secret, "{\"secret\": 1}");
    write_text(model / "config.json", "{}");
    write_text(model / "more" / "inner.json", "{}");
  }
  fs::path link(const std::string& name, const fs::path& target) const {
    fs::remove(model / name);
    fs::create_symlink(target, model / name);
    return model / name;
  }
};

}  // namespace

TEST_CASE("no link of a folder leads out of it, by the kernel's walk or by ours", "[unit]") {
  const Folder made;
  const Descriptor root(::open(made.model.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(root.get() >= 0);
  made.link("to_inner", "more/inner.json");
  made.link("up_and_back", "more/../config.json");
  made.link("twice", "to_inner");
  made.link("folder", "more");
  made.link("out", "../secret.json");
  made.link("absolute", made.secret);
  made.link("out_and_back", "../model/config.json");
  made.link("parent", "..");
  made.link("more/up", "../../secret.json");
  made.link("around", "around");
  made.link("dangling", "nowhere");
  made.link("magic", "/proc/self/root");
  struct Case {
    const char* name;
    int error;  // 0: opened
  };
  const std::vector<Case> cases = {{"config.json", 0},       {"to_inner", 0},          {"up_and_back", 0},
                                   {"twice", 0},             {"folder/inner.json", 0}, {"./more/./inner.json", 0},
                                   {"out", EXDEV},           {"absolute", EXDEV},      {"out_and_back", EXDEV},
                                   {"parent", EXDEV},        {"../secret.json", EXDEV}, {"more/up", EXDEV},
                                   {"parent/secret.json", EXDEV}, {"/etc/hostname", EXDEV}, {"around", ELOOP},
                                   {"dangling", ENOENT},     {"config.json/x", ENOTDIR}, {"magic/etc", EXDEV}};
  using Open = int (*)(int, const fs::path&, int);
  for (const Open open : {Open(open_beneath), Open(walk_beneath)}) {
    for (const Case& one : cases) {
      INFO(one.name << (open == Open(walk_beneath) ? " by our walk" : " by the kernel's"));
      errno = 0;
      const Descriptor fd(open(root.get(), one.name, O_RDONLY | O_NONBLOCK | O_CLOEXEC));
      CHECK((fd.get() >= 0 ? 0 : errno) == one.error);
    }
  }
}

TEST_CASE("what is read of a folder is of that folder", "[unit]") {
  const Folder made;
  const auto refused = [&](const FileRef& file) {
    CHECK_ERROR(read_file(file), kFormat, "is a link that leads out of its folder, to '" + made.secret.string() + "'");
    CHECK_ERROR(read_json(file), kFormat, "put the file itself there, or allow it with `follow-links`");
    CHECK_ERROR(sha256_file(file), kFormat, "leads out of its folder");
    CHECK_ERROR(MappedFile::open(file), kFormat, "leads out of its folder");
    CHECK_ERROR(InputFile(file), kFormat, "leads out of its folder");
  };
  const fs::path link = made.link("generation_config.json", made.secret);
  refused(link);
  refused(made.link("tokenizer.json", "../secret.json"));
  // A folder of the folder, and a folder that is a link.
  made.link("more/template.jinja", made.secret);
  refused(FileRef::within(made.model, made.model / "more" / "template.jinja"));
  fs::create_directory_symlink(made.dir.path(), made.model / "templates");
  refused(FileRef::within(made.model, made.model / "templates" / "secret.json"));
  CHECK(read_file(FileRef::within(made.model, made.model / "more" / "inner.json")) == "{}");
  CHECK_ERROR(read_file(FileRef::within(made.model, made.model / ".." / "secret.json")), kFormat,
              "is outside the folder '" + made.model.string() + "'");
  CHECK_ERROR(read_file(FileRef::within(made.model, made.secret)), kFormat, "is outside the folder");
  CHECK_ERROR(read_file(made.link("dangling", "nowhere")), kMissing, "it is a link to a file that is not there");
  CHECK_ERROR(read_file(made.link("around", "around")), kIo, "Too many levels of symbolic links");

  // What the user names, and links on the way to the folder, are the user's own.
  CHECK(read_file(FileRef::named(link)) == read_text(made.secret));
  fs::create_directory_symlink(made.model, made.dir / "alias");
  CHECK(read_file(made.dir / "alias/config.json") == "{}");
  CHECK(read_file(made.dir / "alias/../model/config.json") == "{}");

  // Tensor files may be anywhere, and it can be said where.
  const fs::path tensors = made.link("model.safetensors", made.secret);
  CHECK(MappedFile::open(tensors)->bytes().size() == fs::file_size(made.secret));
  CHECK(leads_out_to(tensors) == made.secret);
  CHECK(leads_out_to(made.link("inside.safetensors", "config.json")).empty());
  CHECK(leads_out_to(made.model / "config.json").empty());

  follow_links(true);
  CHECK(read_file(link) == read_text(made.secret));
  follow_links(false);
  refused(link);
}

TEST_CASE("links of a Hugging Face cache are followed within its entry", "[unit]") {
  const TempDir dir;
  for (const char* kind : {"models", "datasets"}) {
    const fs::path entry = dir / (std::string("hub/") + kind + "--org--name");
    const fs::path snapshot = entry / "snapshots/rev";
    write_text(entry / "blobs/0123abcd", "{}");
    write_text(dir / "hub/models--org--other/blobs/0123abcd", "{}");
    fs::create_directories(snapshot / "sub");
    fs::create_symlink("../../blobs/0123abcd", snapshot / "config.json");
    fs::create_symlink("../../../blobs/0123abcd", snapshot / "sub/inner.json");
    fs::create_symlink("../../../models--org--other/blobs/0123abcd", snapshot / "other.json");
    fs::create_symlink("../../../../secret", snapshot / "secret.json");
    fs::create_symlink(entry / "blobs/0123abcd", snapshot / "absolute.json");
    write_text(dir / "secret", "x");
    CHECK(read_file(snapshot / "config.json") == "{}");
    CHECK(read_file(snapshot / "sub/inner.json") == "{}");
    CHECK(read_file(FileRef::within(snapshot, snapshot / "sub/inner.json")) == "{}");
    CHECK_ERROR(read_file(snapshot / "other.json"), kFormat, "leads out of its folder");
    CHECK_ERROR(read_file(snapshot / "secret.json"), kFormat, "leads out of its folder");
    fs::create_directories(entry / "elsewhere/rev");
    fs::create_symlink("../../blobs/0123abcd", entry / "elsewhere/rev/config.json");
    CHECK_ERROR(read_file(entry / "elsewhere/rev/config.json"), kFormat, "leads out of its folder");
  }
}

TEST_CASE("what a Hugging Face cache keeps once for all its entries is theirs", "[unit]") {
  const TempDir dir;
  const std::string hash = "ab" + std::string(62, '0');
  const fs::path entry = dir / "hub/models--org--name", snapshot = entry / "snapshots/rev";
  write_text(dir / ("hub/blobs/ab/" + hash), "{}");
  write_text(dir / "hub/blobs/ab/other", "{}");
  fs::create_directories(entry / "blobs");
  fs::create_directories(snapshot);
  fs::create_symlink("../../blobs/ab/" + hash, entry / "blobs/0123");
  fs::create_symlink("../../blobs/ab/other", entry / "blobs/4567");
  fs::create_symlink("../../blobs/0123", snapshot / "tokenizer.json");
  fs::create_symlink("../../blobs/4567", snapshot / "config.json");
  CHECK_ERROR(read_file(snapshot / "tokenizer.json"), kFormat, "leads out of its folder");  // not marked as such a store
  write_text(dir / "hub/blobs/.huggingface-shared-blobs", "1\n");
  CHECK(read_file(snapshot / "tokenizer.json") == "{}");
  CHECK(read_file(FileRef::within(snapshot, snapshot / "tokenizer.json")) == "{}");
  CHECK(leads_out_to(snapshot / "tokenizer.json").empty());
  CHECK_ERROR(read_file(snapshot / "config.json"), kFormat, "leads out of its folder");
}

TEST_CASE("nothing is appended through a link, and other names of a file keep what they had", "[unit]") {
  const TempDir dir;
  write_text(dir / "other", "mine\n");
  fs::create_symlink("other", dir / "metrics.jsonl");
  CHECK_ERROR(AppendFile(dir / "metrics.jsonl", 0), kIo, "is a link, to 'other', and nothing is written through a link");
  fs::remove(dir / "metrics.jsonl");
  fs::create_symlink("absent", dir / "metrics.jsonl");
  CHECK_ERROR(AppendFile(dir / "metrics.jsonl", 0), kIo, "is a link, to 'absent'");
  CHECK_FALSE(fs::exists(dir / "absent"));
  fs::remove(dir / "metrics.jsonl");
  REQUIRE(::mkfifo((dir / "metrics.jsonl").c_str(), 0600) == 0);
  CHECK_ERROR(AppendFile(dir / "metrics.jsonl", 0), kFormat, "is a FIFO");
  CHECK_ERROR(AppendFile("/dev/null", 0), kFormat, "is a device");
  CHECK_ERROR(AppendFile(dir / "no/f", 0), kIo, "no' does not exist");
  fs::remove(dir / "metrics.jsonl");

  fs::create_hard_link(dir / "other", dir / "metrics.jsonl");
  {
    AppendFile file(dir / "metrics.jsonl", 2);
    file.write("x\n");
    file.close();
    CHECK(file.bytes() == 4);
    CHECK_FALSE(file.was_short());
  }
  CHECK(read_text(dir / "other") == "mine\n");
  CHECK(read_text(dir / "metrics.jsonl") == "mix\n");
  CHECK(AppendFile(dir / "metrics.jsonl", 9).was_short());
  CHECK(read_text(dir / "metrics.jsonl") == "mix\n");
  // A link where a whole file is written is replaced, not followed.
  fs::create_symlink("other", dir / "run.json");
  write_file(dir / "run.json", "{}");
  CHECK(read_text(dir / "other") == "mine\n");
  CHECK_FALSE(fs::is_symlink(dir / "run.json"));
}

TEST_CASE("an output is one process's, and what a killed one was writing there is swept", "[unit]") {
  const TempDir dir;
  write_text(dir / ".f.tmp-1-0", "half");
  write_text(dir / ".g.tmp-1-0", "somebody else's");
  {
    const OutputLock lock(dir / "f");
    CHECK_FALSE(fs::exists(dir / ".f.tmp-1-0"));
    CHECK(fs::exists(dir / ".g.tmp-1-0"));
    CHECK_ERROR(OutputLock(dir / "f"), kIo,
                "f' is in use by process " + std::to_string(::getpid()) + "; wait until it ends or choose another name");
    CHECK_ERROR(OutputLock(dir / "f/"), kIo, "is in use by");
    CHECK_NOTHROW(OutputLock(dir / "h"));
  }
  CHECK_NOTHROW(OutputLock(dir / "f"));
  CHECK_ERROR(OutputLock(dir / "no/f"), kIo, "no' does not exist");
  CHECK_FALSE(fs::exists(dir / ".f.lowrank.lock"));
}
