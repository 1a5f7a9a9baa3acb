#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <system_error>

#include "lowrank/apps/console/complaint.h"
#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/stoppable.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/console/words.h"
#include "lowrank/apps/inputs/offer_pull.h"
#include "lowrank/apps/training/ranks.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/file_ref.h"
#include "lowrank/core/text.h"
#include "lowrank/core/visible.h"
#include "lowrank/kernels/threads.h"
#include "lowrank/train/ranks/peer.h"

namespace lowrank::apps {

namespace {

constexpr int kAgain = 75;  // EX_TEMPFAIL: the same command again may well succeed

int dispatch(const std::vector<std::string>& words) {
  const Verb* const named = find_verb(words, verbs()).first;
  if (named != nullptr && others_speak(*named)) leave_speaking_to_others();
  const Asked asked = ask(words, verbs());
  if (asked.verb == nullptr) return asked.exit;
  const Verb& verb = *asked.verb;
  std::optional<Options> options;
  try {
    options = parse_options(verb, asked.arguments);
    core::follow_links(options->flag("follow-links"));
    const int code = run_offering_pulls(verb, *options);
    leave_ranks();
    return code;
  } catch (const recipes::FieldError& error) {
    const std::string source = options ? options->source(error.field) : "";
    const bool from_file = error.source.empty() && !source.empty() && source != "command line";
    throw ConfigError(as_flags(verb, (from_file ? source + ": " : "") + error.what()));
  } catch (const train::RankLost&) {
    throw;
  } catch (const Error& error) {
    throw Error(error.kind(), as_flags(verb, error.what()));
  }
}

/// Sentences for the end of the machine's memory and of a device's.
std::pair<std::string, std::string> memory_remedies(const std::vector<std::string>& words) {
  const Verb* const verb = find_verb(words, verbs()).first;
  std::vector<std::string> lower;
  bool recompute = false;
  for (const OptionSpec& option : verb == nullptr ? std::vector<OptionSpec>{} : verb->options) {
    for (const char* name : {"batch-size", "batch-tokens", "seq-len", "max-new-tokens", "beams"}) {
      if (option.name == name) lower.push_back("--" + option.name);
    }
    recompute = recompute || option.name == "recompute";
  }
  std::string remedy = lower.empty() ? "" : fmt::format("lower {}, ", fmt::join(lower, " or "));
  if (recompute) remedy += "use --recompute layer, ";
  remedy += remedy.empty() ? "" : "or ";
  return {"memory ran out: " + remedy + "raise the limit (of ulimit -v, the control group or the machine)",
          "the device's memory ran out: " + remedy + "take a device with more"};
}

bool json_errors = false;  // set once, by run()

int complain(int code, const std::string& message) {
  if (!fail_ranks(code, message)) print_complaint(code, message, json_errors);
  drop_ranks();
  return code;
}

/// What was wrong with a path that the standard library looked at.
int complain_of(const std::filesystem::filesystem_error& error) {
  const std::string path = core::printable(error.path1().string(), 200);
  const std::error_code& code = error.code();
  if (code == std::errc::filename_too_long || code == std::errc::too_many_symbolic_link_levels ||
      code == std::errc::invalid_argument) {
    return complain(
        2, fmt::format("'{}' ({} bytes) cannot be a path: {}", path, error.path1().string().size(), code.message()));
  }
  const bool missing = code == std::errc::no_such_file_or_directory || code == std::errc::not_a_directory;
  return complain(missing ? 66 : 74, fmt::format("cannot use '{}': {}", path, code.message()));
}

/// Every verb opens folders that somebody else may have made.
std::vector<Verb> with_follow_links(std::vector<Verb> verbs) {
  for (Verb& verb : verbs) verb.options.push_back(option_follow_links());
  return verbs;
}

}  // namespace

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all =
      with_follow_links({finetune_verb(),  evaluate_verb(),        generate_verb(),   chat_verb(),
                         merge_verb(),     export_verb(),          compress_verb(),   inspect_verb(),
                         doctor_verb(),    tokenize_verb(),        runs_verb(),       sweep_verb(),
                         pretrain_verb(),  tokenizer_train_verb(), align_dpo_verb(),  align_reward_verb(),
                         align_ppo_verb(), pull_verb(), push_verb(), config_verb(),          completion_verb(), man_verb()});
  return all;
}

int run(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto [no_memory, no_device_memory] = memory_remedies(words);  // while there is some
  auto reserve = std::make_unique<char[]>(1 << 20);    // to say it with
  json_errors = asks_for_json(words);
  try {
    kernels::make_threads();
    return dispatch(words);
  } catch (const Stopped& stopped) {
    return exit_code_of(stopped.signal);
  } catch (const train::RankLost& lost) {
    return complain(kAgain, std::string(lost.what()) + "; " + after_loss());
  } catch (const Error& error) {
    return complain(exit_code(error.kind()), error.what());
  } catch (const c10::Error& error) {
    reserve.reset();
    const std::string what = error.what_without_backtrace();
    const bool memory =
        what.find("allocate memory") != std::string::npos || what.find("out of memory") != std::string::npos;
    const bool on_device = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr;  // the CPU's allocator throws another
    return memory ? complain(74, on_device ? no_device_memory : no_memory) : complain(70, "inside LibTorch: " + what);
  } catch (const std::bad_alloc&) {
    reserve.reset();
    return complain(74, no_memory);
  } catch (const std::filesystem::filesystem_error& error) {
    return complain_of(error);
  } catch (const std::system_error& error) {
    const bool memory = error.code() == std::errc::not_enough_memory ||
                        error.code() == std::errc::resource_unavailable_try_again;  // of threads
    return memory ? complain(74, no_memory) : complain(70, std::string("unexpected: ") + error.what());
  } catch (const std::exception& error) {
    // What oneDNN says when it gets no memory; every shape that reaches it is one it computes.
    if (std::string_view(error.what()).starts_with("could not ")) {
      reserve.reset();
      return complain(74, no_memory);
    }
    return complain(70, std::string("unexpected: ") + error.what());
  }
}

}  // namespace lowrank::apps
