// `lowrank chat`: a conversation on stdin and stdout, laid out as the model learned it.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <optional>

#include "lowrank/apps/console/line_editor.h"
#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/style.h"
#include "lowrank/apps/generation/chat_session.h"
#include "lowrank/apps/generation/generation_options.h"
#include "lowrank/apps/generation/sampling_options.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"
#include "lowrank/core/text.h"

namespace lowrank::apps {

namespace {

constexpr const char* kHelp =
    "/reset         forget what was said\n"
    "/undo          take back the last question and its answer\n"
    "/save FILE     append the conversation to a .jsonl file, as a row that finetune reads\n"
    "/tool TEXT     what a tool that was called has answered\n"
    "/adapter NAME  go on with another adapter (base: without); alone: which there are\n"
    "/exit          end (Ctrl-D does too)\n"
    "/help          this\n"
    "Ctrl-C stops an answer. Everything else is said to the model.\n";

/// What follows a command on its line; nothing where the line is another's.
std::optional<std::string> argument_of(const std::string& line, std::string_view command) {
  if (line != command && !line.starts_with(std::string(command) + " ")) return std::nullopt;
  const std::size_t begin = line.find_first_not_of(" \t", command.size());
  if (begin == std::string::npos) return "";
  return line.substr(begin, line.find_last_not_of(" \t") + 1 - begin);
}

void switch_adapter(const std::string& name, recipes::AdapterSwitch& adapters, ChatSession& session,
                    const Console& console) {
  if (name.empty()) {
    for (const std::string& one : adapters.names()) console.line(one + (one == adapters.current() ? "  (now)" : ""));
    return;
  }
  adapters.use(name);
  session.adapter_changed();
  console.line(fmt::format("(from now on: {})", adapters.current()));
}

/// Whether the line was one of the commands that say nothing to the model. ConfigError, IoError for one that cannot be
/// done.
bool obeyed(const std::string& line, recipes::AdapterSwitch& adapters, ChatSession& session, const Console& console) {
  if (line == "/help") {
    print_out(kHelp);
  } else if (line == "/reset") {
    session.forget();
    console.line("(forgotten)");
  } else if (line == "/undo") {
    console.line(session.undo() ? "(taken back)" : "(nothing was said yet)");
  } else if (const auto file = argument_of(line, "/save")) {
    if (file->empty()) throw ConfigError("/save needs a file: /save conversations.jsonl");
    session.save(*file);
    console.line("(saved to " + *file + ")");
  } else if (const auto name = argument_of(line, "/adapter")) {
    switch_adapter(*name, adapters, session, console);
  } else if (line.front() == '/' && line.find(' ') == std::string::npos) {
    throw ConfigError(
        fmt::format("'{}' is not a command{}; /help lists them", core::printable(line),
                    core::did_you_mean(line, {"/reset", "/undo", "/save", "/tool", "/adapter", "/exit", "/help"})));
  } else {
    return false;
  }
  return true;
}

void print_opening(const Opened& opened, const recipes::AdapterSwitch& adapters, const ChatSession& session,
                   const Console& console) {
  std::vector<std::pair<std::string, std::string>> rows = describe(opened);
  for (auto& row : adapters.describe()) rows.push_back(std::move(row));
  if (const std::string tools = session.tool_names(); !tools.empty()) rows.emplace_back("tools", tools);
  print_lines(fields(rows));
  console.line(session.layout_text());
  print_out("\n" + std::string(kHelp));
}

int chat(const Options& options) {
  const Console console(options);
  const std::vector<recipes::NamedAdapter> named = adapters_asked_for(options);
  Opened opened = open_base(options, console, named);
  ConsoleProgress notes(console);
  recipes::AdapterSwitch adapters(opened.decoder(), named, notes);
  ChatSession session(opened, adapters, options);
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && stdout_is_terminal();
  if (terminal && !console.silent()) print_opening(opened, adapters, session, console);
  std::optional<LineEditor> editor;
  if (terminal) editor.emplace(history_file("chat_history"));
  for (std::string line;;) {
    if (editor) {
      print_out("\n");
      std::optional<std::string> said = editor->read("> ");
      if (!said) break;
      line = std::move(*said);
    } else if (!std::getline(std::cin, line)) {
      break;
    }
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    if (line == "/exit" || line == "/quit") return 0;
    try {
      const auto of_tool = argument_of(line, "/tool");
      if (!of_tool && obeyed(line, adapters, session, console)) continue;
      const int stopped = session.answer(of_tool ? "tool" : "user", of_tool.value_or(line));
      if (stopped != 0 && stopped != SIGINT) return exit_code_of(stopped);
    } catch (const ConfigError& error) {
      console.warning(error.what());
    } catch (const IoError& error) {
      console.warning(error.what());
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
      {"tools", OptionType::kText, "FILE", nullptr, "Input", "JSON list of the tools that the model is shown", {}},
  };
  for (recipes::FieldInfo field : recipes::chat_fields(false)) {
    field.group = "Input";
    verb.options.push_back(std::move(field));
  }
  append_sampling_options(verb, 512);
  verb.options.insert(verb.options.end(), {option_adapters(), option_dtype(), option_base_dtype(), option_device(), option_threads(), option_quiet()});
  verb.run = chat;
  return verb;
}

}  // namespace lowrank::apps
