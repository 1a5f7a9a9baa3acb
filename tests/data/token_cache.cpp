// A data set read through the token cache is the one that is read without it: at once, the second time, after a kill.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <sstream>
#include <string>

#include "catch.h"
#include "errors.h"
#include "fake_tokenizer.h"
#include "lowrank/core/files.h"
#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/checks.h"
#include "lowrank/data/dataset.h"
#include "lowrank/data/parts.h"
#include "lowrank/data/stored_copies.h"

using namespace lowrank;
using namespace lowrank_test;
using data::Dataset;

namespace {

/// Known by a file; counts what it encodes, and may end the process instead.
class Counting : public FakeTokenizer {
 public:
  explicit Counting(const fs::path& file, std::int64_t dies_after = -1) : dies_after_(dies_after) { files_ = {file}; }
  std::vector<TokenId> encode(std::string_view text, bool special) const override {
    if (++encoded == dies_after_) ::_exit(9);
    return FakeTokenizer::encode(text, special);
  }
  mutable std::atomic<std::int64_t> encoded{0};

 private:
  std::int64_t dies_after_;
};

struct Told : core::ProgressObserver {
  std::string notes, warnings;
  void note(const std::string& text) override { notes += text + "\n"; }
  void warning(const std::string& text) override { warnings += text + "\n"; }
};

/// Of a line of /proc/self/status.
std::size_t kilobytes(const std::string& field) {
  std::istringstream status(read_text("/proc/self/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field)) return std::stoul(line.substr(field.size()));
  }
  return 0;
}

void check_equal(const Dataset& a, const Dataset& b) {
  REQUIRE(a.examples.size() == b.examples.size());
  REQUIRE(a.documents.size() == b.documents.size());
  bool equal = true;
  for (std::size_t i = 0; i < a.examples.size(); ++i) {
    const data::Example &x = a.examples[i], &y = b.examples[i];
    equal = equal && x.ids == y.ids && x.learned == y.learned && x.document == y.document && x.cut == y.cut &&
            x.counted() == y.counted();
  }
  for (std::size_t i = 0; i < a.documents.size(); ++i) {
    const data::Document &x = a.documents[i], &y = b.documents[i];
    equal = equal && x.where.text() == y.where.text() && x.duplicate == y.duplicate && x.source == y.source;
  }
  CHECK(equal);
  CHECK(a.weights == b.weights);
  CHECK(a.report.notes == b.report.notes);
  CHECK(a.report.sha256 == b.report.sha256);
  CHECK(a.report.format == b.report.format);
  CHECK(a.report.tokens == b.report.tokens);
  CHECK(a.report.learned_tokens == b.report.learned_tokens);
  CHECK(a.report.documents == b.report.documents);
  CHECK(a.report.duplicates == b.report.duplicates);
  CHECK(a.report.truncated == b.report.truncated);
  CHECK(a.report.truncated_tokens == b.report.truncated_tokens);
  CHECK(a.report.empty == b.report.empty);
  CHECK(a.report.all_masked == b.report.all_masked);
  CHECK(a.report.chat_template == b.report.chat_template);
  const data::Split first = data::split(a, 0.1, 7), second = data::split(b, 0.1, 7);
  CHECK(first.train.report.learned_tokens == second.train.report.learned_tokens);
  CHECK(first.validation.examples.size() == second.validation.examples.size());
}

std::string rows(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) {
    all += R"({"prompt": "question )" + std::to_string(i % 97) + R"(", "completion": ")" + std::string(i % 61, 'x') +
           R"(", "id": 3})" + "\n";
  }
  return all;
}

std::string chats(int count) {
  std::string all;
  for (int i = 0; i < count; ++i) {
    all += R"({"messages": [{"role": "user", "content": ")" + std::to_string(i) +
           R"("}, {"role": "assistant", "content": "so"}, {"role": "user", "content": "and"},)" +
           R"( {"role": "assistant", "content": ")" + std::string(i % 40, 'y') + R"("}]})" + "\n";
  }
  return all;
}

struct Files {
  TempDir dir;
  fs::path tokenizer, cache;
  Files() : tokenizer(dir / "tokenizer.json"), cache(dir / "cache") { write_text(tokenizer, "{}"); }

  data::DataOptions options(bool cached, int threads = 1) const {
    data::DataOptions how;
    how.seq_len = 64;
    how.threads = threads;
    const Counting known(tokenizer);
    how.chat = std::make_shared<const data::ChatLayout>(
        known,
        data::ChatTemplate::compile("{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
                                    "{% if add_generation_prompt %}<assistant>{% endif %}",
                                    "t"),
        std::nullopt, data::ChatOptions{});
    if (cached) how.cache = data::TokenCachePlace{cache, 0};
    return how;
  }
  Dataset load(const std::vector<fs::path>& paths, const Counting& with, const data::DataOptions& how,
               Told* told = nullptr) const {
    return data::load(paths, with, how, told);
  }
};

}  // namespace

TEST_CASE("the token cache gives what reading gives, and reads it the second time", "[unit]") {
  const Files files;
  write_text(files.dir / "rows.jsonl", rows(400) + R"({"prompt": "p", "completion": " "})" + "\n");
  write_text(files.dir / "chats.jsonl", chats(300));
  write_text(files.dir / "text.txt", "one\n<|endoftext|>\n" + std::string(1000, 'z') + "\n<|endoftext|>\none\n");
  for (const std::vector<fs::path>& paths :
       {std::vector<fs::path>{files.dir / "rows.jsonl"}, {files.dir / "chats.jsonl"}, {files.dir / "text.txt"},
        {(files.dir / "rows.jsonl").string() + "*0.5", files.dir / "chats.jsonl", files.dir / "text.txt"}}) {
    CAPTURE(paths.front());
    const Counting plain(files.tokenizer), first(files.tokenizer), second(files.tokenizer);
    const Dataset expected = files.load(paths, plain, files.options(false));
    Told made, read;
    check_equal(files.load(paths, first, files.options(true, 3), &made), expected);
    CHECK(contains(made.notes, "tokens are kept in"));
    check_equal(files.load(paths, second, files.options(true), &read), expected);
    CHECK(contains(read.notes, "tokens are read from"));
    CHECK(second.encoded == 0);
    CHECK(first.encoded == plain.encoded);
  }
  // Another text, another cut: another folder.
  const Counting tokenizer(files.tokenizer);
  data::DataOptions other = files.options(true);
  other.seq_len = 32;
  files.load({files.dir / "rows.jsonl"}, tokenizer, other);
  CHECK(tokenizer.encoded > 0);
  const std::int64_t before = tokenizer.encoded;
  write_text(files.dir / "rows.jsonl", rows(401));
  check_equal(files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true)),
              files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(false)));
  CHECK(tokenizer.encoded > before);
  // What is small is not kept, where that was asked for.
  data::DataOptions large = files.options(true);
  large.cache = data::TokenCachePlace{files.dir / "none", 1 << 20};
  files.load({files.dir / "rows.jsonl"}, tokenizer, large);
  CHECK_FALSE(fs::exists(files.dir / "none"));
}

TEST_CASE("a file under another name is the one whose tokens are kept, and its places have the name that was given", "[unit]") {
  const Files files;
  write_text(files.dir / "a.txt", "one\n<|endoftext|>\ncaf\xe9 \x93two\x94\n");  // Windows-1252: said in a note
  write_text(files.dir / "b.txt", "three\n");
  const Counting tokenizer(files.tokenizer);
  files.load({files.dir / "a.txt", files.dir / "b.txt"}, tokenizer, files.options(true));
  const std::int64_t before = tokenizer.encoded;
  fs::create_directory(files.dir / "other");
  for (const char* name : {"a.txt", "b.txt"}) fs::rename(files.dir / name, files.dir / "other" / name);
  const std::vector<fs::path> moved = {files.dir / "other" / "a.txt", files.dir / "other" / ".." / "other" / "b.txt"};
  const Dataset read = files.load(moved, tokenizer, files.options(true));
  CHECK(tokenizer.encoded == before);
  check_equal(read, files.load(moved, tokenizer, files.options(false)));
  CHECK(read.documents[0].where.text().starts_with(moved[0].string()));
  CHECK(read.documents[2].where.text().starts_with(moved[1].string()));
  // What had one name twice is not what has two.
  const std::int64_t until_now = tokenizer.encoded;
  fs::copy_file(moved[0], files.dir / "other" / "c.txt");
  files.load({moved[0], moved[0]}, tokenizer, files.options(true));
  const Dataset two = files.load({moved[0], files.dir / "other" / "c.txt"}, tokenizer, files.options(true));
  CHECK(tokenizer.encoded > until_now);
  CHECK(two.documents[2].where.text().starts_with((files.dir / "other" / "c.txt").string()));
  // In another order it is another data set.
  files.load({moved[1], moved[0]}, tokenizer, files.options(true));
  CHECK(tokenizer.encoded > before + 3);
}

TEST_CASE("copies of cached examples are those that lie there, and files that changed are refused", "[unit]") {
  const Files files;
  write_text(files.dir / "rows.jsonl", rows(200));
  write_text(files.dir / "text.txt", "learned whole\n");
  const Counting tokenizer(files.tokenizer);
  const Dataset stored = files.load({files.dir / "rows.jsonl", files.dir / "text.txt"}, tokenizer, files.options(true));
  REQUIRE(stored.storage != nullptr);
  const data::StoredCopies copies(stored.storage);
  bool equal = true;
  for (std::size_t i = 0; i < stored.examples.size(); ++i) {
    const data::Example there = stored.examples[i];
    data::Example copy = there;
    copies.own(copy);
    equal = equal && copy.ids == there.ids && copy.learned == there.learned && std::as_const(copy.ids).data() != there.ids.data() &&
            std::as_const(copy.learned).data() != there.learned.data();
  }
  CHECK(equal);
  fs::resize_file(stored.storage->learned_file().path(), 3);
  CHECK(contains(message_of<IoError>([&] { data::StoredCopies again(stored.storage); }), "changed while it was in use"));
}

TEST_CASE("a part of a cached data set, and its memory given back", "[unit]") {
  const Files files;
  write_text(files.dir / "rows.jsonl", rows(400));
  const Counting tokenizer(files.tokenizer);
  data::Split split = data::split(files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true)), 0.2, 1);
  const std::vector<TokenId> ids = split.train.examples.at(3).ids;
  REQUIRE(split.train.storage != nullptr);
  split.train.storage->release();
  CHECK(split.train.examples.at(3).ids == ids);
  // What is changed is a copy of its own.
  data::Example changed = split.train.examples.at(3);
  changed.ids.push_back(1);
  CHECK(split.train.examples.at(3).ids == ids);
  CHECK(changed.ids.size() == ids.size() + 1);
}

TEST_CASE("a part taken out of a cached data set is the one taken out of what is read", "[unit]") {
  const Files files;
  write_text(files.dir / "rows.jsonl", rows(400));
  const Counting tokenizer(files.tokenizer);
  Dataset held = files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(false));
  Dataset stored = files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true));
  std::string how, how_stored;
  const Dataset out = data::take_validation(held, 0.2, 3, how);
  const Dataset out_stored = data::take_validation(stored, 0.2, 3, how_stored);
  CHECK(how == how_stored);
  for (const auto& [a, b] : {std::pair<const Dataset*, const Dataset*>{&held, &stored}, {&out, &out_stored}}) {
    REQUIRE(a->examples.size() == b->examples.size());
    bool equal = true;
    for (std::size_t i = 0; i < a->examples.size(); ++i) {
      const data::Example x = a->examples[i], y = b->examples[i];
      equal = equal && x.ids == y.ids && x.learned == y.learned && x.counted() == y.counted() &&
              a->documents[x.document].where.text() == b->documents[y.document].where.text() &&
              a->examples.length(i) == y.ids.size() && b->examples.counted(i) == y.counted();
    }
    CHECK(equal);
    for (const auto count : {&data::ReadReport::documents, &data::ReadReport::examples, &data::ReadReport::tokens,
                             &data::ReadReport::learned_tokens, &data::ReadReport::duplicates}) {
      CHECK(a->report.*count == b->report.*count);
    }
    CHECK(data::share_of(*a, 0.3, 9).examples.size() == data::share_of(*b, 0.3, 9).examples.size());
    CHECK(data::share_of(*a, 0.3, 9).report.tokens == data::share_of(*b, 0.3, 9).report.tokens);
  }
  // What changes the list holds it in memory first.
  stored.examples.own().front().cut = 9;
  CHECK(stored.examples[0].cut == 9);
  CHECK(stored.examples[0].ids == held.examples[0].ids);
  CHECK(out_stored.examples[0].cut == 0);
}

TEST_CASE("a cached data set of many rows is read and parted without a list of them in memory", "[unit]") {
  const Files files;
  constexpr int kRows = 400'000;
  {
    core::AppendFile file(files.dir / "rows.jsonl");
    for (int i = 0; i < kRows; ++i) file.write("{\"text\": \"" + std::to_string(i) + "\"}\n");
  }
  const Counting tokenizer(files.tokenizer);
  files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true));
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const std::size_t begin = kilobytes("RssAnon:");
    Dataset train = files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true));
    std::string how;
    const Dataset validation = data::take_validation(train, 0.1, 1, how);
    const std::size_t grown = kilobytes("RssAnon:") - begin;
    if (train.examples.size() + validation.examples.size() != kRows) ::_exit(200);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    ::_exit(grown == 0 ? 1 : 0);  // its shadow is counted too, so the figure says nothing of ours
#else
    ::_exit(static_cast<int>(std::min<std::size_t>(grown * 1024 / kRows, 199)));  // bytes a row
#endif
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) < 24);
}

TEST_CASE("a token cache that is damaged is made again, and said", "[unit]") {
  const Files files;
  write_text(files.dir / "rows.jsonl", rows(200));
  const Counting tokenizer(files.tokenizer);
  const Dataset expected = files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(false));
  for (const std::string name : {"documents.bin", "examples.bin", "ids.bin", "learned.bin", "tokens.json"}) {
    CAPTURE(name);
    files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true));
    fs::path file;
    for (const auto& entry : fs::recursive_directory_iterator(files.cache)) {
      if (entry.path().filename() == name) file = entry.path();
    }
    std::string bytes = read_text(file);
    bytes[bytes.size() / 2] ^= 1;
    if (name == "tokens.json") bytes.resize(bytes.size() / 2);
    fs::remove(file);
    write_text(file, bytes);
    Told told;
    const std::int64_t before = tokenizer.encoded;
    check_equal(files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true), &told), expected);
    CHECK(contains(told.warnings, "the token cache is made again"));
    CHECK(tokenizer.encoded > before);
  }
}

TEST_CASE("a token cache whose example names a document that is not there is refused before anything is taken from it", "[unit]") {
  const Files files;
  write_text(files.dir / "rows.jsonl", rows(200));
  const Counting tokenizer(files.tokenizer);
  files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true));
  for (const auto& entry : fs::recursive_directory_iterator(files.cache)) {
    if (entry.path().filename() != "examples.bin") continue;
    // In place and of the same time, so that no hash is taken.
    const fs::file_time_type was = fs::last_write_time(entry.path());
    const data::StoredExample crafted = {0, data::kAllLearned, 1, 0x7fffffff, 0, 1};
    std::fstream(entry.path(), std::ios::in | std::ios::out | std::ios::binary)
        .write(reinterpret_cast<const char*>(&crafted), sizeof crafted);
    fs::last_write_time(entry.path(), was);
  }
  Told told;
  const Dataset crafted = files.load({files.dir / "rows.jsonl"}, tokenizer, files.options(true), &told);
  CHECK(contains(told.notes, "tokens are read from"));
  CHECK_THROWS_AS(crafted.examples[0], DataError);
  CHECK_THROWS_AS(crafted.examples.document(0), DataError);
  CHECK_THROWS_AS(data::split(crafted, 0.1, 7), DataError);
}

TEST_CASE("a kill while the token cache is made loses nothing that was synced", "[unit]") {
  const Files files;
  std::string text;
  for (int i = 0; i < 3000; ++i) text += R"({"text": ")" + std::string(8000, 'a' + i % 26) + R"("})" + "\n";
  write_text(files.dir / "text.jsonl", text);
  const Counting plain(files.tokenizer);
  const Dataset expected = files.load({files.dir / "text.jsonl"}, plain, files.options(false));
  for (const std::int64_t after : {1500, 1200}) {  // of those that are left each time
    const pid_t child = ::fork();
    if (child == 0) {
      const Counting dies(files.tokenizer, after);
      files.load({files.dir / "text.jsonl"}, dies, files.options(true));
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WEXITSTATUS(status) == 9);
  }
  const Counting last(files.tokenizer);
  Told told;
  check_equal(files.load({files.dir / "text.jsonl"}, last, files.options(true, 2), &told), expected);
  CHECK(contains(told.notes, "going on with the tokens of"));
  // A sync comes after every 1,030 documents or so of 8,001 tokens: each try has left one.
  CHECK(last.encoded <= plain.encoded - 2 * 1020);
  // The hashes that were taken while it was written, in three tries, are those of the files: copies of them are as good.
  for (const auto& entry : fs::recursive_directory_iterator(files.cache)) {
    if (entry.path().extension() != ".bin") continue;
    const std::string bytes = read_text(entry.path());
    fs::remove(entry.path());
    write_text(entry.path(), bytes);
  }
  const Counting copied(files.tokenizer);
  Told again;
  check_equal(files.load({files.dir / "text.jsonl"}, copied, files.options(true), &again), expected);
  CHECK(again.warnings.empty());
  CHECK(copied.encoded == 0);
}

TEST_CASE("any number of threads gives the same, and the first error", "[unit]") {
  const Files files;
  const Counting tokenizer(files.tokenizer);
  write_text(files.dir / "many.jsonl", chats(20000));
  const Dataset one = files.load({files.dir / "many.jsonl"}, tokenizer, files.options(false, 1));
  check_equal(files.load({files.dir / "many.jsonl"}, tokenizer, files.options(false, 4)), one);
  data::DataOptions refuses = files.options(false, 4);
  refuses.chat = std::make_shared<const data::ChatLayout>(
      tokenizer,
      data::ChatTemplate::compile("{% for m in messages %}{% if m.content == '9000' %}{{ raise_exception('no') }}"
                                  "{% endif %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
                                  "{% if add_generation_prompt %}<assistant>{% endif %}",
                                  "t"),
      std::nullopt, data::ChatOptions{});
  write_text(files.dir / "many.jsonl", chats(9100) + "{\n");
  const std::string message =
      message_of<DataError>([&] { files.load({files.dir / "many.jsonl"}, tokenizer, refuses); });
  CHECK(contains(message, "line 9001"));
}

TEST_CASE("making, reading and looking through a cached data set takes less memory than its tokens", "[unit]") {
  const Files files;
  constexpr std::size_t kRows = 6000, kRow = 10000;  // 240 MB of ids
  {
    core::AppendFile file(files.dir / "long.jsonl");
    for (std::size_t i = 0; i < kRows; ++i) {
      file.write(R"({"text": ")" + std::to_string(i) + std::string(kRow, static_cast<char>('a' + i % 26)) + "\"}\n");
    }
  }
  for (const char* what : {"made", "read"}) {
    CAPTURE(what);
    const pid_t child = ::fork();  // with a peak of its own
    REQUIRE(child >= 0);
    if (child == 0) {
      const std::size_t begin = kilobytes("VmRSS:");
      const Counting tokenizer(files.tokenizer);
      data::DataOptions how = files.options(true, 2);
      how.seq_len = 1024;
      Dataset train = files.load({files.dir / "long.jsonl"}, tokenizer, how);
      std::string told;
      const Dataset validation = data::take_validation(train, 0.1, 1, told);
      data::Patient patient{&train, {{"validation", &validation}}, &tokenizer, nullptr, {2}};
      patient.at_most = 4000;  // as before training
      data::examine(patient);
      [[maybe_unused]] const std::size_t grown = kilobytes("VmHWM:") - begin;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
      ::_exit(0);  // its shadow and its quarantine are counted too, so the figure says nothing of ours
#else
      ::_exit(train.report.tokens > 50'000'000 ? static_cast<int>(std::min<std::size_t>(grown >> 10, 255)) : 255);
#endif
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) < 150);  // megabytes
  }
}
