// Crashes and full disks at every point of a save, in child processes.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <random>

#include "faults/fault_shim.h"
#include "lowrank/core/error.h"
#include "lowrank/train/run_folder.h"
#include "message.h"
#include "toy.h"

using namespace lowrank;
using namespace lowrank_test;

namespace {

constexpr int kIoError = 74;

train::TrainOptions options_with_prune() {
  train::TrainOptions options = toy_training();
  options.keep_last = 1;
  return options;
}

/// A whole run as the command makes it: folder, lock, training.
void train_in(const fs::path& out, bool resume, Recorder& recorder) {
  const auto lock = train::open_run_folder(out, resume, false, {});
  Toy toy;
  train::Trainer(toy, options_with_prune(), out, {}).run(recorder, resume);
}

/// Runs f in a child; gives its wait status. One thread: a child of fork has none of its parent's pool.
template <typename F>
int in_child(F f) {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    int code = 0;
    try {
      at::set_num_threads(1);
      f();
    } catch (const IoError& error) {
      code = kIoError;
    } catch (...) {
      code = 99;
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return status;
}

std::map<std::string, std::string> uninterrupted() {
  keep_files_in_memory();
  TempDir out;
  in_child([&] {
    Recorder recorder;
    train_in(out.path(), false, recorder);
  });
  return results_of(out.path());
}

/// How many file-changing calls a run makes between the end of step `first` and that of step `last`, or its own end.
int calls_between(std::int64_t first, std::int64_t last) {
  TempDir out;
  Recorder recorder;
  int calls = -1;
  recorder.after_step = [&](std::int64_t step) {
    if (step == first) count_calls();
    if (step == last) calls = calls_counted();
  };
  const auto lock = train::open_run_folder(out.path(), false, false, {});
  Toy toy;
  train::Trainer(toy, options_with_prune(), out.path(), {}).run(recorder);
  return calls >= 0 ? calls : calls_counted();
}

void check_nothing_left_over(const fs::path& out) {
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    INFO(name);
    CHECK_FALSE(core::is_temporary_name(name));
    CHECK_FALSE(name.ends_with(".removing"));
  }
}

/// A run resumed in `out` by another child ends with the bytes of the uninterrupted one.
void check_resumes(const fs::path& out, const std::map<std::string, std::string>& expected) {
  REQUIRE(in_child([&] {
            Recorder recorder;
            train_in(out, true, recorder);
          }) == 0);
  CHECK(differing(results_of(out), expected) == "");
  check_nothing_left_over(out);
}

}  // namespace

TEST_CASE("killed at every write, sync, rename, mkdir and unlink of a run: a valid checkpoint, and the same end",
          "[unit]") {
  const auto expected = uninterrupted();
  // From after step 5 to after step 9, then to the end: all kinds of writes that a run makes.
  for (const auto& [first, last] : {std::pair<std::int64_t, std::int64_t>{5, 9}, {12, 13}}) {
    const int points = calls_between(first, last);
    CHECK(points > 20);
    for (int n = 1; n <= points; ++n) {
      TempDir out;
      const int status = in_child([&] {
        Recorder recorder;
        recorder.after_step = [&](std::int64_t step) {
          if (step == first) kill_at_call(n);
        };
        train_in(out.path(), false, recorder);
      });
      INFO("killed at call " << n << " of " << points << " after step " << first);
      REQUIRE(WIFSIGNALED(status));
      REQUIRE(train::newest_checkpoint(out.path(), nullptr));
      check_resumes(out.path(), expected);
    }
  }
}

TEST_CASE("killed at random times, a run resumes to the same end", "[unit]") {
  const auto expected = uninterrupted();
  std::mt19937 random(17);
  TempDir out;
  int kills = 0;
  // Over and over into one folder until it ends by itself.
  for (bool finished = false; !finished && kills < 200;) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      at::set_num_threads(1);
      Recorder recorder;
      recorder.after_step = [](std::int64_t) { ::usleep(2000); };
      train_in(out.path(), true, recorder);
      ::_exit(0);
    }
    ::usleep(1000 + random() % 15000);
    ::kill(pid, SIGKILL);
    int status = 0;
    ::waitpid(pid, &status, 0);
    finished = WIFEXITED(status);
    kills += finished ? 0 : 1;
  }
  check_resumes(out.path(), expected);
}

TEST_CASE("an error at every call of a save leaves the checkpoint before, and no half of the new one", "[unit]") {
  const auto expected = uninterrupted();
  const int points = calls_between(5, 7);
  for (const int error : {ENOSPC, EIO}) {
    for (int n = 1; n <= points; n += error == EIO ? 3 : 1) {
      TempDir out;
      const int status = in_child([&] {
        Recorder recorder;
        recorder.after_step = [&](std::int64_t step) {
          if (step == 5) fail_at_call(n, error, false);
        };
        train_in(out.path(), false, recorder);
      });
      REQUIRE(WIFEXITED(status));
      INFO("errno " << error << " at call " << n << " of " << points << ", exit " << WEXITSTATUS(status));
      // Old files that cannot be deleted at the first try are no reason to stop.
      CHECK((WEXITSTATUS(status) == kIoError || WEXITSTATUS(status) == 0));
      std::vector<std::string> skipped;
      REQUIRE(train::newest_checkpoint(out.path(), &skipped));
      CHECK(skipped.empty());
      check_resumes(out.path(), expected);
    }
  }
}

namespace {

/// A tmpfs of 1 MB while it lives; ok: this process may mount.
struct TinyDisk {
  explicit TinyDisk(fs::path at) : path(std::move(at)) {
    fs::create_directories(path);
    ok = ::mount("tmpfs", path.c_str(), "tmpfs", 0, "size=1m") == 0;
  }
  ~TinyDisk() {
    if (ok) ::umount(path.c_str());
  }
  TinyDisk(const TinyDisk&) = delete;
  TinyDisk& operator=(const TinyDisk&) = delete;
  fs::path path;
  bool ok = false;
};

}  // namespace

TEST_CASE("a disk that is full: the error says how many bytes, the checkpoint before is whole", "[unit]") {
  TempDir root;
  const TinyDisk disk(root / "disk");
  const fs::path& out = disk.path;
  const bool mounted = disk.ok;
  std::string message;
  {
    Toy toy;
    Recorder recorder;
    recorder.after_step = [&](std::int64_t step) {
      if (step != 7) return;
      if (mounted) {
        std::ofstream filler(out / "filler", std::ios::binary);
        for (const std::string page(4096, 'x'); filler.write(page.data(), 4096).flush();) {
        }
      } else {
        std::signal(SIGXFSZ, SIG_IGN);
        const rlimit limit{0, RLIM_INFINITY};
        ::setrlimit(RLIMIT_FSIZE, &limit);
      }
    };
    message = message_of<IoError>([&] { train::Trainer(toy, toy_training(), out, {}).run(recorder); });
  }
  if (!mounted) {
    const rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  INFO((mounted ? "tmpfs: " : "ulimit -f: ") << message);
  CHECK(contains(message, "bytes"));
  const auto newest = train::newest_checkpoint(out, nullptr);
  REQUIRE(newest);
  CHECK(newest->filename() == "checkpoint-6");
  check_nothing_left_over(out);
  if (mounted) {
    fs::remove(out / "filler");
    Toy toy;
    Recorder recorder;
    train::Trainer(toy, toy_training(), out, {}).run(recorder, true);
    CHECK(recorder.first_step == 6);
  }
}
