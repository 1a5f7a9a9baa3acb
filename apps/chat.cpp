// `lowrank chat`: a conversation on stdin and stdout, laid out as the model learned it.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <iostream>
#include <optional>

#include "lowrank/apps/console/complaint.h"
#include "lowrank/apps/console/line_editor.h"
#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/console/style.h"
#include "lowrank/apps/generation/chat_session.h"
#include "lowrank/apps/generation/generation_options.h"
#include "lowrank/apps/generation/model_settings.h"
#include "lowrank/apps/generation/said.h"
#include "lowrank/apps/generation/sampling_options.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/core/error.h"

namespace lowrank::apps {

namespace {

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

/// What says nothing to the model. ConfigError, IoError for a command that cannot be done.
void obey(const Said& said, recipes::AdapterSwitch& adapters, ChatSession& session, const Console& console) {
  if (said.command == "/help") {
    print_out(SaidReader::help());
  } else if (said.command == "/reset") {
    session.forget();
    console.line("(forgotten)");
  } else if (said.command == "/undo") {
    console.line(session.undo() ? "(taken back)" : "(nothing was said yet)");
  } else if (said.command == "/save") {
    session.save(said.text);
    console.line("(saved to " + said.text + ")");
  } else {
    switch_adapter(said.text, adapters, session, console);
  }
}

void print_opening(const Opened& opened, const recipes::AdapterSwitch& adapters, const ChatSession& session,
                   const Console& console) {
  std::vector<std::pair<std::string, std::string>> rows = describe(opened);
  for (auto& row : adapters.describe()) rows.push_back(std::move(row));
  if (const std::string tools = session.tool_names(); !tools.empty()) rows.emplace_back("tools", tools);
  print_lines(fields(rows));
  console.line(session.layout_text());
  print_out("\n" + std::string(SaidReader::help()));
}

int chat(const Options& options) {
  const Console console(options);
  const std::vector<recipes::NamedAdapter> named = adapters_asked_for(options);
  Opened opened = open_base(options, console, named);
  say_unused_settings(options, console, opened.model.path);
  ConsoleProgress notes(console);
  recipes::AdapterSwitch adapters(opened.decoder(), named, notes);
  ChatSession session(opened, adapters, options);
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && stdout_is_terminal();
  if (terminal && !console.silent()) print_opening(opened, adapters, session, console);
  std::optional<LineEditor> editor;
  if (terminal) editor.emplace(history_file("chat_history"));
  SaidReader reader([&](bool goes_on) -> std::optional<std::string> {
    if (editor) {
      if (!goes_on) print_out("\n");
      return editor->read(goes_on ? ". " : "> ");
    }
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    return line;
  });
  int failed = 0;  // the first fault of what came through a pipe; a person at a terminal has seen it
  for (;;) {
    try {
      const std::optional<Said> said = reader.next();
      if (!said || said->command == "/exit" || said->command == "/quit") {
        if (!said && terminal) print_out("\n");
        return failed;
      }
      if (!said->command.empty() && said->command != "/tool") {
        obey(*said, adapters, session, console);
        continue;
      }
      const int stopped = session.answer(said->command.empty() ? "user" : "tool", said->text);
      if (stopped != 0 && stopped != SIGINT) return exit_code_of(stopped);
    } catch (const Error& error) {
      const bool passes = error.kind() == ErrorKind::kConfig || error.kind() == ErrorKind::kData || error.kind() == ErrorKind::kIo;
      if (!passes) throw;
      const std::string why = as_flags(options.verb(), error.what());
      if (terminal) {
        console.warning(why);
        continue;
      }
      print_complaint(exit_code(error.kind()), why, false);
      if (failed == 0) failed = exit_code(error.kind());
    }
  }
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
