#include "lowrank/apps/generation/chat_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "lowrank/apps/console/signals.h"
#include "lowrank/apps/generation/sampling_options.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/data/chat/answered_call.h"
#include "lowrank/data/chat/turns.h"
#include "lowrank/data/conversation.h"

namespace lowrank::apps {

namespace {

using core::Json;

/// Thrown out of generation by Ctrl-C.
struct Interrupted {};

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \n");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \n") - begin + 1);
}

Json read_tools(const Options& options) {
  const std::string file = options.text("tools");
  Json tools = core::read_json(core::FileRef::named(file));
  if (tools.is_object()) tools = Json::array({tools});
  const bool objects =
      tools.is_array() && std::all_of(tools.begin(), tools.end(), [](const Json& tool) { return tool.is_object(); });
  if (!objects) options.fail("tools", file + ": expected a list of tools, each an object of its own");
  return tools;
}

}  // namespace

ChatSession::ChatSession(const Opened& opened, const recipes::AdapterSwitch& adapters, const Options& options)
    : opened_(opened),
      adapters_(adapters),
      console_(options),
      sampling_(sampling_options(options, console_)),
      stops_(sampling_.stop),
      chat_(chat_asked_for(options)),
      cache_(1, sampling_.cache) {
  if (options.has("system")) row_["system"] = options.text("system");
  if (options.has("tools")) row_["tools"] = read_tools(options);
  adapter_changed();
  if (options.has("tools") && !(speaker_.layout->has_template() && speaker_.layout->reads("tools")))
    options.fail("tools", "the model's layout of conversations has no place for tools; leave it out");
}

void ChatSession::adapter_changed() {
  cache_.truncate(0);
  read_.clear();
  speaker_ = recipes::speaker_of(opened_.model, adapters_.directory(adapters_.current()), chat_);
  speaker_.layout->check();
  sampling_.end_ids = speaker_.turn_ends;
  sampling_.stop = stops_;
  if (speaker_.layout->has_template()) return;
  // A model that has not learned to end its turn goes on with the user's.
  sampling_.stop.emplace_back("\nUser:");
  if (!speaker_.tokenizer->eos()) sampling_.stop.emplace_back("\n\n");
}

void ChatSession::forget() {
  messages_ = Json::array();
  calls_ = 0;
}

bool ChatSession::undo() {
  std::size_t last = messages_.size();
  while (last > 0 && messages_[last - 1]["role"] == "assistant") --last;
  if (last == 0) return false;
  while (messages_.size() >= last) messages_.erase(messages_.size() - 1);
  return true;
}

void ChatSession::save(const std::filesystem::path& file) const {
  if (messages_.empty()) throw ConfigError("nothing was said yet");
  Json turns = Json::array();
  if (row_.contains("system")) turns.push_back({{"role", "system"}, {"content", row_["system"]}});
  turns.insert(turns.end(), messages_.begin(), messages_.end());
  Json row = {{"messages", turns}};
  if (row_.contains("tools")) row["tools"] = row_["tools"];
  core::AppendFile out(file);
  out.write(core::json_text(row) + "\n");
  out.close();
}

std::string ChatSession::layout_text() const {
  const data::ChatLayout& layout = *speaker_.layout;
  if (!layout.has_template()) return data::conversation_layout(speaker_.tokenizer->eos().has_value());
  std::string text = "conversations are laid out by " + layout.main_template().name();
  if (layout.asks_for_date()) text += ", for which today is " + data::chat_date_text(*layout.options().date);
  return text;
}

std::string ChatSession::tool_names() const {
  std::string names;
  if (!row_.contains("tools")) return names;
  for (const Json& tool : row_["tools"]) {
    const Json& function = tool.contains("function") ? tool["function"] : tool;
    const bool named = function.is_object() && function.contains("name") && function["name"].is_string();
    names += (names.empty() ? "" : ", ") +
             (named ? core::printable(function["name"].get<std::string>(), 60) : std::string("(without a name)"));
  }
  return names;
}

std::vector<data::TokenId> ChatSession::prompt() const {
  data::TurnReader reader(*speaker_.layout);
  const data::Conversation conversation = reader.read({messages_, "chat"}, {row_, "chat"});
  return data::conversation_prompt_ids(*speaker_.tokenizer, *speaker_.layout, conversation);
}

/// All up to the second question. False: there is one alone.
bool ChatSession::forget_oldest() {
  std::size_t next = 1;
  while (next < messages_.size() && messages_[next]["role"] != "user") ++next;
  if (next >= messages_.size()) return false;
  messages_.erase(messages_.begin(), messages_.begin() + static_cast<std::ptrdiff_t>(next));
  return true;
}

/// The ids up to where the model answers, with room for that; the oldest turns are forgotten where it takes that.
std::vector<data::TokenId> ChatSession::prompt_with_room() {
  std::vector<data::TokenId> ids = prompt();
  const auto positions = static_cast<std::size_t>(opened_.decoder().config().max_positions);
  const std::size_t room = std::min<std::size_t>(static_cast<std::size_t>(sampling_.max_new_tokens), positions / 4);
  int dropped = 0;
  for (; ids.size() + room > positions && forget_oldest(); ids = prompt()) ++dropped;
  if (ids.size() >= positions)
    throw DataError(fmt::format("that has {} tokens and the model {} positions: say it shorter", ids.size(), positions));
  if (dropped > 0)
    console_.warning(
        fmt::format("the conversation no longer fits into the model's {} positions: its {} oldest turn{} forgotten",
                    positions, dropped, dropped == 1 ? " is" : "s are"));
  return ids;
}

int ChatSession::answer(const std::string& role, const std::string& text) {
  const Json before = messages_;
  try {
    Json message = {{"role", role}, {"content", text}};
    if (role == "tool" && speaker_.layout->has_template() && speaker_.layout->reads("tool_call_id"))
      message["tool_call_id"] = data::answered_call(messages_, speaker_.layout->reads("tool_calls"), calls_);
    messages_.push_back(std::move(message));
    return speak(prompt_with_room());
  } catch (const Error&) {
    messages_ = before;
    cache_.truncate(0);  // how much of it was read is not known
    read_.clear();
    throw;
  }
}

int ChatSession::speak(const std::vector<data::TokenId>& ids) {
  const bool plain = !speaker_.layout->has_template();
  std::atomic<int>& stop = catch_stop_signals();
  std::string said;
  // Only what differs from the last turn is read; the last token of the prompt always is.
  const auto same = std::mismatch(read_.begin(), read_.end(), ids.begin(), ids.end() - 1).first - read_.begin();
  cache_.truncate(same);
  read_ = ids;
  const auto show = [&](const std::string& piece) {
    const bool first = said.empty() && plain;
    print_answer(first ? piece.substr(std::min(piece.find_first_not_of(' '), piece.size())) : piece);
    said += piece;
    if (stop != 0) throw Interrupted{};
  };
  try {
    const models::Generated out =
        models::generate(opened_.decoder(), *speaker_.tokenizer, ids, sampling_, show, &cache_);
    read_.insert(read_.end(), out.ids.begin(), out.ids.end());
    read_.resize(static_cast<std::size_t>(cache_.length()));  // the last token was drawn, not read
  } catch (const Interrupted&) {
  } catch (const Error&) {
    if (!said.empty()) print_out("\n");
    release_stop_signals();
    throw;
  }
  print_out("\n");
  release_stop_signals();  // at the prompt Ctrl-C ends the program, as users expect
  messages_.push_back({{"role", "assistant"}, {"content", plain ? trimmed(said) : said}});
  return stop;
}

}  // namespace lowrank::apps
