// The command's program: it answers help and mistakes in names by the table of verbs, in a moment, and loads the verbs
// (verbs_module.cpp), and LibTorch with them, when one is to run.
#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/auxv.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lowrank/apps/console/complaint.h"
#include "lowrank/apps/console/completion.h"
#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/standard_streams.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/console/verb_table.h"
#include "lowrank/apps/console/words.h"
#include "lowrank/apps/verbs_module.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/train/ranks/launch.h"

namespace fs = std::filesystem;
using namespace lowrank;
using namespace lowrank::apps;

namespace {

/// Where the verbs and their table lie: seen from the program, in the build tree as where it is installed. A copy of the program
/// alone goes on with those of the tree that it was built in, while that is there.
fs::path folder_of_verbs() {
  std::error_code error;
  fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error)  // no /proc: the path that the program was started by
    program = fs::canonical(reinterpret_cast<const char*>(::getauxval(AT_EXECFN)), error);
  const fs::path beside = (program.parent_path() / LOWRANK_VERBS_FOLDER).lexically_normal(), built = LOWRANK_VERBS_BUILT;
  return !fs::exists(beside / kVerbsModule, error) && fs::exists(built / kVerbsModule, error) ? built : beside;
}

/// None where they cannot be read: the verbs know themselves.
std::vector<Verb> table_of_verbs() {
  const fs::path file = folder_of_verbs() / kVerbTable;
  try {
    return verbs_from_json({core::read_json(core::FileRef::named(file)), file.string()});
  } catch (const Error&) {
    return {};
  }
}

/// This process's rank, where a launcher started others beside it. What that says, where it is wrong, is for the verbs to say: 0 then.
std::optional<int> rank_among_several() {
  try {
    const std::optional<train::Launch> launch = train::read_launch(train::process_variables());
    return launch ? std::optional(launch->rank) : std::nullopt;
  } catch (const Error&) {
    return 0;
  }
}

/// Whether help or the version is asked for, which the first of several processes tells for all.
bool asks_to_be_told(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "help" || words[0] == "--version") return true;
  return std::any_of(words.begin(), std::find(words.begin(), words.end(), "--"),
                     [](const std::string& word) { return word == "--help" || word == "-h" || word == "--help=all"; });
}

/// The exit code, where the table of verbs is enough.
std::optional<int> answered(const std::vector<std::string>& words) {
  if (const std::optional<int> rank = rank_among_several()) {
    if (!asks_to_be_told(words)) return std::nullopt;  // one answers for all (training/ranks.h)
    if (*rank > 0) return words.empty() ? 2 : 0;
  }
  if (asks_for_table(words)) return std::nullopt;  // the verbs write it
  const std::vector<Verb> verbs = table_of_verbs();
  if (verbs.empty()) return std::nullopt;
  try {
    const Asked asked = ask(words, verbs);
    if (asked.verb == nullptr) return asked.exit;
    if (asked.verb->name == "completion" && asked.arguments.size() == 1) {
      print_out(completion_script(asked.arguments.front(), verbs));
      return 0;
    }
    if (asked.verb->name == "man" && asked.arguments.empty()) {
      print_out(manual_page(verbs, LOWRANK_VERSION));
      return 0;
    }
  } catch (const Error& error) {
    print_complaint(exit_code(error.kind()), error.what(), asks_for_json(words));
    return exit_code(error.kind());
  }
  return std::nullopt;
}

int run_verb(const std::vector<std::string>& words, int argc, char** argv) {
  const std::string module = (folder_of_verbs() / kVerbsModule).string();
  const auto cannot = [&](const std::string& why) {
    const bool memory = why.find("annot allocate memory") != std::string::npos;
    print_complaint(74,
                    memory ? "memory ran out while LibTorch was loaded: raise the limit (of ulimit -v, the control group or "
                             "the machine)"
                           : fmt::format("the verbs of the command cannot be loaded ({}): lowrank and {} go together; of a "
                                         "LibTorch that was moved, LD_LIBRARY_PATH may name the lib folder",
                                         why, module),
                    asks_for_json(words));
    return 74;
  };
  // OpenMP reads this as it is loaded. Threads that sleep at once at each of a token's hundreds of barriers halve the speed of decoding; GNU's own
  // 300,000 turns take the cores from other programs (kernels/threads.h, docs/results.md).
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) ::setenv("GOMP_SPINCOUNT", "2000", /*overwrite=*/0);
  void* const loaded = ::dlopen(module.c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (loaded == nullptr) return cannot(::dlerror());
  void* const run = ::dlsym(loaded, kRunVerb);
  if (run == nullptr) return cannot(::dlerror());
  return reinterpret_cast<decltype(&lowrank_run_verb)>(run)(argc, argv, has_stdout());
}

}  // namespace

int main(int argc, char** argv) {
  open_standard_streams();  // before the first file
  core::keep_heap();        // before the first tensor: a third of a step would be page faults
  install_signal_handlers();
  const std::vector<std::string> words(argv + 1, argv + argc);
  const std::optional<int> code = answered(words);
  // What was written is written; LibTorch would go on to take back its thousands of operators one by one.
  std::quick_exit(code ? checked_stdout(*code) : run_verb(words, argc, argv));
}
