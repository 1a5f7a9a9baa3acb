// A fuzz target: bytes go in, and nothing may come out but a result or an Error of ours.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lowrank_fuzz {

/// Ends the process with a sentence: a promise was broken that is no exception.
[[noreturn]] void broken(const std::string& promise);

/// Whether a call comes to a result; an Error of ours is none. One that says that the fault is ours (exit 70) ends the process,
/// and any other exception goes on.
bool succeeds(const std::function<void()>& call);

struct Target {
  const char* name;  // of its folder in corpus/
  void (*run)(std::string_view input);
};
/// All that are linked in.
std::vector<Target>& targets();
struct Registration {
  explicit Registration(const Target& target) { targets().push_back(target); }
};

/// A stretch of input up to the first byte of zero, and what follows: an input of two parts.
std::pair<std::string_view, std::string_view> two_parts(std::string_view input);

/// A file of this name with these bytes, in a folder of the process's own.
std::filesystem::path file_with(const std::string& name, std::string_view bytes);

/// The folder of that name, made anew from an input: again and again a line "NAME SIZE" and SIZE bytes.
std::filesystem::path folder_with(const std::string& name, std::string_view input);

}  // namespace lowrank_fuzz

/// LOWRANK_FUZZ_TARGET(name) { … input … }
#define LOWRANK_FUZZ_TARGET(name)                                                    \
  static void fuzz_##name(std::string_view input);                                   \
  static const lowrank_fuzz::Registration registration_##name({#name, fuzz_##name}); \
  static void fuzz_##name(std::string_view input)
