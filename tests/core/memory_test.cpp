// What a process may still take, from roots with a proc/ and a sys/ of their own.
#include "lowrank/core/memory.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "catch.h"

using namespace lowrank_test;
using lowrank::core::available_memory;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

void write_machine(const fs::path& root) {
  write_text(root / "proc/meminfo", "MemTotal:       2097152 kB\nMemFree:  1 kB\nMemAvailable:   1048576 kB\n");
}

/// A root whose version 2 hierarchy is mounted at sys/fs/cgroup from `group`, for a process of `own`.
void write_version2(const fs::path& root, const std::string& own, const std::string& group = "/") {
  write_machine(root);
  write_text(root / "proc/self/cgroup", "0::" + own + "\n");
  write_text(root / "proc/self/mountinfo", "24 1 0:22 / /sys rw - sysfs sysfs rw\n31 24 0:27 " + group +
                                               " /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
}

void write_group2(const fs::path& group, const std::string& max, std::uint64_t current, std::uint64_t inactive_file = 0,
                  const std::string& high = "max") {
  write_text(group / "memory.max", max + "\n");
  write_text(group / "memory.high", high + "\n");
  write_text(group / "memory.current", std::to_string(current) + "\n");
  write_text(group / "memory.stat",
             "anon 1\nfile 2\ninactive_file " + std::to_string(inactive_file) + "\nactive_file 3\n");
}

}  // namespace

TEST_CASE("a machine without control groups has what it says is available; nothing readable gives nothing", "[unit]") {
  TempDir root;
  CHECK_FALSE(available_memory(root.path()));
  write_machine(root.path());
  CHECK(available_memory(root.path()) == 1024 * kMiB);
}

TEST_CASE("version 2: the tightest of a group and all above it, cache that is not in use being free", "[unit]") {
  TempDir root;
  const fs::path groups = root / "sys/fs/cgroup";
  write_version2(root.path(), "/jobs/night/run");
  CHECK(available_memory(root.path()) == 1024 * kMiB);  // the groups' files are not there
  write_group2(groups / "jobs/night/run", "max", 10 * kMiB);
  CHECK(available_memory(root.path()) == 1024 * kMiB);
  write_group2(groups / "jobs/night/run", std::to_string(500 * kMiB), 100 * kMiB, 30 * kMiB);
  CHECK(available_memory(root.path()) == 430 * kMiB);
  write_group2(groups / "jobs", std::to_string(600 * kMiB), 300 * kMiB);
  CHECK(available_memory(root.path()) == 300 * kMiB);
  write_group2(groups / "jobs/night", "max", 120 * kMiB, 0, std::to_string(150 * kMiB));
  CHECK(available_memory(root.path()) == 30 * kMiB);
  write_group2(groups / "jobs", std::to_string(300 * kMiB), 301 * kMiB);
  CHECK(available_memory(root.path()) == 0);
}

TEST_CASE("version 2 in a container: its own group is the root of what it sees", "[unit]") {
  for (const std::string own : {"/", "/docker/abc", "/elsewhere"}) {
    TempDir root;
    INFO(own);
    write_version2(root.path(), own, "/docker/abc");
    write_group2(root / "sys/fs/cgroup", std::to_string(64 * kMiB), 60 * kMiB);
    CHECK(available_memory(root.path()) == 4 * kMiB);
  }
}

TEST_CASE("version 1, alone and beside a version 2 without memory", "[unit]") {
  TempDir root;
  write_machine(root.path());
  write_text(root / "proc/self/cgroup", "9:cpu,cpuacct:/x\n4:hugetlb,memory:/slice/job\n0::/unified\n");
  write_text(root / "proc/self/mountinfo",
             "40 24 0:40 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n41 24 0:41 / /sys/fs/cgroup/cpu rw - cgroup "
             "cgroup rw,cpu,cpuacct\n"
             "42 24 0:42 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,hugetlb,memory\n");
  const fs::path memory = root / "sys/fs/cgroup/memory";
  const auto write_group = [&](const fs::path& group, std::uint64_t limit, std::uint64_t usage) {
    write_text(group / "memory.limit_in_bytes", std::to_string(limit) + "\n");
    write_text(group / "memory.usage_in_bytes", std::to_string(usage) + "\n");
    write_text(group / "memory.stat", "cache 5\ntotal_inactive_file 1048576\n");
  };
  write_group(memory, 9223372036854771712U, 900 * kMiB);
  CHECK(available_memory(root.path()) == 1024 * kMiB);
  write_group(memory / "slice/job", 200 * kMiB, 51 * kMiB);
  CHECK(available_memory(root.path()) == 150 * kMiB);
  write_group(memory / "slice", 100 * kMiB, 51 * kMiB);
  CHECK(available_memory(root.path()) == 50 * kMiB);
}

TEST_CASE("the limits of ulimit count, less what is taken", "[unit]") {
  TempDir root;
  write_machine(root.path());
  write_text(root / "proc/self/status", "Name:\tx\nVmSize:\t  204800 kB\nVmRSS:\t  10240 kB\nVmData:\t  102400 kB\n");
  const auto limits = [&](const std::string& space, const std::string& data, const std::string& resident) {
    write_text(root / "proc/self/limits",
               "Limit                     Soft Limit           Hard Limit           Units\n"
               "Max data size             " +
                   data +
                   "   unlimited   bytes\n"
                   "Max resident set          " +
                   resident +
                   "   unlimited  bytes\n"
                   "Max address space         " +
                   space + "    unlimited    bytes\n");
  };
  limits("unlimited", "unlimited", "unlimited");
  CHECK(available_memory(root.path()) == 1024 * kMiB);
  limits(std::to_string(1000 * kMiB), "unlimited", "unlimited");
  CHECK(available_memory(root.path()) == 800 * kMiB);
  limits(std::to_string(1000 * kMiB), std::to_string(400 * kMiB), "unlimited");
  CHECK(available_memory(root.path()) == 300 * kMiB);
  limits(std::to_string(1000 * kMiB), std::to_string(400 * kMiB), std::to_string(30 * kMiB));
  CHECK(available_memory(root.path()) == 20 * kMiB);
}

TEST_CASE("the limit of a real process is seen", "[unit]") {
  const auto before = available_memory();
  REQUIRE(before);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // a limit that is below what is taken (and that Linux does not enforce)
    const rlimit small = {1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_RSS, &small);
    const auto left = available_memory();
    ::_exit(left && *left < *before && *left <= (1U << 20) ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
