#include <c10/util/Exception.h>
#include <fmt/format.h>

#include <new>
#include <optional>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kConfig:
      return 2;
    case ErrorKind::kData:
    case ErrorKind::kFormat:
    case ErrorKind::kModel:
      return 65;
    case ErrorKind::kMissing:
      return 66;
    case ErrorKind::kIo:
      return 74;
    case ErrorKind::kInternal:
      return 70;
  }
  return 70;
}

std::string overview() {
  std::string text = "lowrank " LOWRANK_VERSION
                     ": low-rank fine-tuning of Hugging Face language models\n\nUsage: lowrank VERB ... [options]\n\n";
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Verb& verb : verbs()) rows.emplace_back("  " + verb.name, verb.summary);
  return text + fields(rows) +
         "\n`lowrank VERB --help` tells more. MODEL is a folder in the Hugging Face layout, ORG/NAME in the\n"
         "Hugging Face cache, or an adapter folder (its config names the base).\n";
}

/// The verb that the first words of argv name, and how many words that took.
std::pair<const Verb*, std::size_t> find_verb(const std::vector<std::string>& words) {
  for (const Verb& verb : verbs()) {
    std::vector<std::string> parts;
    std::string name = verb.name;
    for (std::size_t at; (at = name.find(' ')) != std::string::npos; name.erase(0, at + 1))
      parts.push_back(name.substr(0, at));
    parts.push_back(name);
    if (words.size() >= parts.size() && std::equal(parts.begin(), parts.end(), words.begin()))
      return {&verb, parts.size()};
  }
  return {nullptr, 0};
}

int dispatch(const std::vector<std::string>& words) {
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    print_out(overview());
    return words.empty() ? 2 : 0;
  }
  if (words[0] == "--version") {
    print_out("lowrank " LOWRANK_VERSION "\n");
    return 0;
  }
  const auto [verb, taken] = find_verb(words);
  if (verb == nullptr) {
    std::vector<std::string> names;
    std::string beneath;  // verbs of two words that begin with this one
    for (const Verb& v : verbs()) {
      names.push_back(v.name);
      if (v.name.starts_with(words[0] + " ")) beneath += (beneath.empty() ? "" : ", ") + v.name;
    }
    if (!beneath.empty()) throw ConfigError(fmt::format("'{}' goes with a second word: {}", words[0], beneath));
    throw ConfigError(fmt::format("'{}' is not a verb of lowrank{}; `lowrank --help` lists them",
                                  core::printable(words[0]), core::did_you_mean(words[0], names)));
  }
  std::optional<Options> options;
  try {
    options = parse_options(*verb, {words.begin() + static_cast<std::ptrdiff_t>(taken), words.end()});
    return options ? verb->run(*options) : 0;
  } catch (const recipes::FieldError& error) {
    const std::string source = options ? options->source(error.field) : "";
    const bool from_file = error.source.empty() && !source.empty() && source != "command line";
    throw ConfigError(as_flags(*verb, (from_file ? source + ": " : "") + error.what()));
  } catch (const Error& error) {
    throw Error(error.kind(), as_flags(*verb, error.what()));
  }
}

int complain(int code, const std::string& message) {
  print_error("lowrank: error: " + message + "\n");
  return code;
}

}  // namespace

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all = {finetune_verb(),  evaluate_verb(),     generate_verb(), chat_verb(),
                                        merge_verb(),     compress_verb(),     inspect_verb(),  tokenize_verb(),
                                        runs_verb(),      sweep_verb(),        pretrain_verb(), tokenizer_train_verb(),
                                        align_dpo_verb(), align_reward_verb(), align_ppo_verb()};
  return all;
}

int run(int argc, char** argv) {
  install_signal_handlers();
  try {
    return dispatch({argv + 1, argv + argc});
  } catch (const Error& error) {
    return complain(exit_code(error.kind()), error.what());
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    const bool memory =
        what.find("allocate memory") != std::string::npos || what.find("out of memory") != std::string::npos;
    return complain(memory ? 74 : 70,
                    memory ? "out of memory: lower --batch-size or --seq-len, or use --recompute layer (" + what + ")"
                           : "inside LibTorch: " + what);
  } catch (const std::bad_alloc&) {
    return complain(74, "out of memory: lower --batch-size or --seq-len, or use --recompute layer");
  } catch (const std::exception& error) {
    return complain(70, std::string("unexpected: ") + error.what());
  }
}

}  // namespace lowrank::apps
