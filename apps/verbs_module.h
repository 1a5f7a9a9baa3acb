// What the command's program loads to run a verb (main.cpp): a shared object, so that what needs no LibTorch does not
// wait for it.
#pragma once

namespace lowrank::apps {

constexpr const char* kVerbsModule = "lowrank_verbs.so";
constexpr const char* kVerbTable = "verbs.json";  // `lowrank --help --json`, written when the module was linked
constexpr const char* kRunVerb = "lowrank_run_verb";

}  // namespace lowrank::apps

/// The whole command, and the process's exit code.
extern "C" int lowrank_run_verb(int argc, char** argv, bool has_stdout);
