// `lowrank chat`: a conversation on stdin and stdout, in the plain role layout that data/ teaches.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <iostream>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/style.h"
#include "lowrank/apps/console/terminal.h"
#include "lowrank/apps/generation/generation_options.h"
#include "lowrank/apps/generation/sampling_options.h"
#include "lowrank/apps/inputs/opening.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"
#include "lowrank/data/conversation.h"
#include "lowrank/models/generate.h"

namespace lowrank::apps {

namespace {

using core::Json;

constexpr const char* kHelp =
    "/reset         forget what was said\n"
    "/adapter NAME  go on with another adapter (base: without); alone: which there are\n"
    "/exit          end (Ctrl-D does too)\n"
    "/help          this\n"
    "Ctrl-C stops an answer. Everything else is said to the model.\n";

struct Turn {
  std::string question, answer;
};

/// Thrown out of generation by Ctrl-C.
struct Interrupted {};

class Chat {
 public:
  Chat(Opened& opened, const Options& options)
      : opened_(opened), sampling_(sampling_options(options)), console_(options) {
    if (options.has("system")) system_ = options.text("system");
    ends_ = opened.tokenizer().eos().has_value();
    // A model that has not learned to end its turn goes on with the user's.
    sampling_.stop.emplace_back("\nUser:");
    if (!ends_) sampling_.stop.emplace_back("\n\n");
  }

  void reset() { turns_.clear(); }

  /// What was read is another model's: it is read again.
  void model_changed() {
    cache_.truncate(0);
    read_.clear();
  }

  /// The model's answer, streamed. Returns the signal that stopped it, or 0.
  int answer(const std::string& question) {
    std::vector<data::TokenId> ids = prompt(question);
    const auto positions = static_cast<std::size_t>(opened_.decoder().config().max_positions);
    const std::size_t room = std::min<std::size_t>(static_cast<std::size_t>(sampling_.max_new_tokens), positions / 4);
    int dropped = 0;
    for (; !turns_.empty() && ids.size() + room > positions; ids = prompt(question)) {
      turns_.pop_front();
      ++dropped;
    }
    if (dropped > 0)
      console_.warning(
          fmt::format("the conversation no longer fits into the model's {} positions: its {} oldest turn{} forgotten",
                      positions, dropped, dropped == 1 ? " is" : "s are"));
    if (ids.size() >= positions) {
      console_.warning(
          fmt::format("that has {} tokens and the model {} positions: say it shorter", ids.size(), positions));
      return 0;
    }

    std::atomic<int>& stop = catch_stop_signals();
    std::string text;
    // Only what differs from the last turn is read; the last token of the prompt always is.
    const auto same = std::mismatch(read_.begin(), read_.end(), ids.begin(), ids.end() - 1).first - read_.begin();
    cache_.truncate(same);
    read_ = ids;
    const auto show = [&](const std::string& piece) {
      print_out(text.empty() ? piece.substr(std::min(piece.find_first_not_of(' '), piece.size())) : piece);
      text += piece;
      if (stop != 0) throw Interrupted{};
    };
    try {
      const models::Generated out =
          models::generate(opened_.decoder(), opened_.tokenizer(), ids, sampling_, show, &cache_);
      read_.insert(read_.end(), out.ids.begin(), out.ids.end());
      read_.resize(static_cast<std::size_t>(cache_.length()));  // the last token was drawn, not read
    } catch (const Interrupted&) {
    }
    print_out("\n");
    ::signal(SIGINT, SIG_DFL);  // at the prompt Ctrl-C ends the program, as users expect
    ::signal(SIGTERM, SIG_DFL);
    turns_.push_back({question, trimmed(text)});
    return stop;
  }

 private:
  static std::string trimmed(const std::string& text) {
    const std::size_t begin = text.find_first_not_of(" \n");
    return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \n") - begin + 1);
  }

  /// The conversation up to and including "Assistant:", tokenized as data::load does: each stretch up to an end token
  /// is one text.
  std::vector<data::TokenId> prompt(const std::string& question) const {
    Json messages = Json::array();
    for (const Turn& turn : turns_) {
      messages.push_back({{"role", "user"}, {"content", turn.question}});
      messages.push_back({{"role", "assistant"}, {"content", turn.answer}});
    }
    messages.push_back({{"role", "user"}, {"content", question}});
    std::vector<data::Span> spans = data::conversation_spans(core::JsonView(messages, "chat"), system_, ends_);
    spans.push_back({"Assistant:"});

    const data::Tokenizer& tokenizer = opened_.tokenizer();
    std::vector<data::TokenId> ids;
    std::string text;
    bool first = true;
    for (std::size_t i = 0; i < spans.size(); ++i) {
      text += spans[i].text;
      if (!spans[i].ends && i + 1 < spans.size()) continue;
      std::vector<data::TokenId> part = tokenizer.encode(text, first);
      if (first && tokenizer.adds_eos() && !part.empty() && part.back() == tokenizer.eos()) part.pop_back();
      ids.insert(ids.end(), part.begin(), part.end());
      if (spans[i].ends && ends_) ids.push_back(*tokenizer.eos());
      first = false;
      text.clear();
    }
    return ids;
  }

  Opened& opened_;
  models::GenerateOptions sampling_;
  Console console_;
  std::string system_;
  bool ends_ = false;
  models::KvCache cache_;
  std::vector<data::TokenId> read_;  // what the cache holds
  std::deque<Turn> turns_;
};

/// "/adapter NAME", or "/adapter" alone.
void switch_adapter(const std::string& line, recipes::AdapterSwitch& adapters, Chat& conversation,
                    const Console& console) {
  const std::size_t name = line.find_first_not_of(" \t", std::string_view("/adapter").size());
  if (name == std::string::npos) {
    for (const std::string& one : adapters.names()) console.line(one + (one == adapters.current() ? "  (now)" : ""));
    return;
  }
  try {
    adapters.use(line.substr(name, line.find_last_not_of(" \t") + 1 - name));
    conversation.model_changed();
    console.line(fmt::format("(from now on: {})", adapters.current()));
  } catch (const ConfigError& error) {
    console.warning(error.what());
  }
}

int chat(const Options& options) {
  const Console console(options);
  const std::vector<recipes::NamedAdapter> named = adapters_asked_for(options);
  Opened opened = open_base(options, console);
  ConsoleProgress notes(console);
  recipes::AdapterSwitch adapters(opened.decoder(), named, notes);
  if (opened.tokenizer().has_chat_template()) {
    throw ConfigError(fmt::format(
        "{} has a chat template, which this version does not read, and the plain role layout is not what it "
        "was trained on; write the prompt out as its template would and use `lowrank generate`",
        opened.model.name));
  }
  Chat conversation(opened, options);
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && stdout_is_terminal();
  if (terminal && !console.silent()) {
    std::vector<std::pair<std::string, std::string>> rows = describe(opened);
    for (auto& row : adapters.describe()) rows.push_back(std::move(row));
    print_out(fields(rows));
    console.line(data::conversation_layout(opened.tokenizer().eos().has_value()));
    print_out("\n" + std::string(kHelp));
  }
  for (std::string line;;) {
    if (terminal) print_out(bold("\n> "));
    if (!std::getline(std::cin, line)) break;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (line == "/exit" || line == "/quit") return 0;
    if (line == "/help") {
      print_out(kHelp);
    } else if (line == "/reset") {
      conversation.reset();
      console.line("(forgotten)");
    } else if (line == "/adapter" || line.starts_with("/adapter ")) {
      switch_adapter(line, adapters, conversation, console);
    } else if (line.front() == '/' && line.find(' ') == std::string::npos) {
      console.warning(fmt::format("'{}' is not a command{}; /help lists them", core::printable(line),
                                  core::did_you_mean(line, {"/reset", "/adapter", "/exit", "/help"})));
    } else if (conversation.answer(line) == SIGTERM) {
      return 128 + SIGTERM;
    }
  }
  if (terminal) print_out("\n");
  return 0;
}

}  // namespace

Verb chat_verb() {
  Verb verb;
  verb.name = "chat";
  verb.summary = "Talk with a model on the terminal";
  verb.positionals = {"MODEL"};
  verb.example = "lowrank chat MODEL --adapter out --temperature 0.7";
  verb.options = {
      {"system", OptionType::kText, "TEXT", nullptr, "Input", "What the model is told first", {}},
  };
  append_sampling_options(verb, 512);
  verb.options.insert(verb.options.end(), {option_adapters(), option_dtype(), option_threads(), option_quiet()});
  verb.run = chat;
  return verb;
}

}  // namespace lowrank::apps
