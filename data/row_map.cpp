#include "lowrank/data/row_map.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"

namespace lowrank::data {
namespace {

/// What readers ask for.
const std::vector<std::string>& known_names() {
  static const std::vector<std::string> names = {
      "text",         "prompt", "completion", "question", "answer",   "instruction", "input",  "output",
      "messages",     "system", "tools",      "chosen",   "rejected", "conversations", "label", "labels",
      "conversation", "dialog", "history",    "reference", "choices", "adapter",       "documents"};
  return names;
}

const core::Json* member(const core::Json& value, const std::string& key) {
  if (value.is_object()) {
    const auto it = value.find(key);
    return it == value.end() ? nullptr : &*it;
  }
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
  const bool number = error == std::errc() && end == key.data() + key.size();
  return value.is_array() && number && index < value.size() ? &value[index] : nullptr;
}

/// A dotted path is followed with the longest key that is there at each step.
const core::Json* follow(const core::Json& value, const std::string& path) {
  if (const core::Json* whole = member(value, path)) return whole;
  for (std::size_t dot = path.rfind('.'); dot != path.npos && dot > 0; dot = path.rfind('.', dot - 1)) {
    const core::Json* inner = member(value, path.substr(0, dot));
    if (inner == nullptr) continue;
    if (const core::Json* found = follow(*inner, path.substr(dot + 1))) return found;
  }
  return nullptr;
}

/// Columns and the paths below them, for the nearest name.
void list_paths(const core::Json& value, const std::string& before, std::vector<std::string>& paths) {
  if (!value.is_object() || paths.size() > 200) return;
  for (const auto& [key, child] : value.items()) {
    paths.push_back(before + key);
    list_paths(child, before + key + ".", paths);
  }
}

core::JsonView column(const core::JsonView& row, const std::string& path, const char* field) {
  if (const core::Json* found = follow(row.raw(), path)) return {*found, row.where() + ": " + path};
  std::vector<std::string> paths;
  list_paths(row.raw(), "", paths);
  std::string listed;
  for (std::size_t i = 0; i < paths.size() && i < 12; ++i) {
    listed += (i == 0 ? "" : ", ") + core::printable(paths[i], 40);
  }
  throw DataError(row.where() + ": there is no column '" + core::printable(path) + "', which `" + field + "` names" +
                  core::did_you_mean(path, paths) + " (its columns: " + listed + (paths.size() > 12 ? ", …" : "") + ")");
}

std::string first_key(const core::Json& row, const std::string& path) {
  std::string key = path;
  while (!row.contains(key) && key.find('.') != key.npos) key.erase(key.rfind('.'));
  return key;
}

/// A value in a text.
std::string spelled(const core::JsonView& value) {
  if (value.is_string()) return value.as_string();
  if (value.is_bool() || (value.is_number() && !value.raw().is_number_float())) return core::json_text(value.raw());
  if (value.is_number()) {
    value.as_double();  // refuses NaN
    return core::json_text(value.raw());
  }
  throw DataError(value.where() + ": expected a text, a number or a truth value to put into `layout`, found " +
                  (value.raw().is_binary() ? "text that is broken" : value.raw().type_name()));
}

std::string trimmed(std::string text) {
  text.erase(0, text.find_first_not_of(" \t"));
  text.erase(text.find_last_not_of(" \t") + 1);
  return text;
}

[[noreturn]] void wrong_layout(const std::string& layout, const std::string& problem) {
  throw ConfigError("`layout`: " + problem + " in '" + core::printable(layout, 200) +
                    "'; write columns as {name}, and what is learned, at the end, as [[…]], such as "
                    "\"{question}\\n[[{answer}]]\"");
}

}  // namespace

std::shared_ptr<const RowMap> RowMap::parse(const std::string& columns, const std::string& layout) {
  if (columns.empty() && layout.empty()) return nullptr;
  if (!columns.empty() && !layout.empty()) {
    throw ConfigError("`columns` and `layout` both say what rows are made of; give one of them");
  }
  auto map = std::make_shared<RowMap>();
  map->text_ = columns.empty() ? "layout " + layout : "columns " + columns;
  if (layout.empty()) {
    map->parse_columns(columns);
  } else {
    map->parse_layout(layout);
  }
  return map;
}

void RowMap::parse_columns(const std::string& columns) {
  for (std::size_t begin = 0; begin <= columns.size();) {
    const std::size_t end = std::min(columns.find(',', begin), columns.size());
    const std::string entry = columns.substr(begin, end - begin);
    const std::size_t equals = entry.find('=');
    const std::string name = trimmed(entry.substr(0, equals));
    const std::string path = equals == entry.npos ? "" : trimmed(entry.substr(equals + 1));
    if (name.empty() || path.empty()) {
      throw ConfigError("`columns`: expected NAME=COLUMN,… such as prompt=question,completion=best_answer, found '" +
                        core::printable(entry) + "'");
    }
    const std::vector<std::string>& known = known_names();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw ConfigError("`columns`: nothing reads a column '" + core::printable(name) + "'" +
                        core::did_you_mean(name, known) +
                        "; before the = stands what is read (prompt, completion, text, messages, chosen, rejected, "
                        "label …), after it the column of the data");
    }
    if (std::any_of(columns_.begin(), columns_.end(), [&](const auto& column) { return column.first == name; })) {
      throw ConfigError("`columns`: '" + name + "' is there twice");
    }
    columns_.emplace_back(name, path);
    begin = end + 1;
  }
}

void RowMap::parse_layout(const std::string& layout) {
  bool learned = false, closed = false;
  std::string literal;
  const auto flush = [&] {
    if (!literal.empty()) pieces_.push_back({false, learned, literal});
    literal.clear();
  };
  for (std::size_t i = 0; i < layout.size();) {
    const std::string_view rest = std::string_view(layout).substr(i);
    if (closed) wrong_layout(layout, "something stands after ]]");
    if (rest.starts_with("{{") || rest.starts_with("}}")) {
      literal += rest[0];
      i += 2;
    } else if (rest.starts_with("[[")) {
      if (learned) wrong_layout(layout, "[[ is there twice");
      flush();
      learned = marked_ = true;
      i += 2;
    } else if (learned && rest.starts_with("]]")) {
      flush();
      closed = true;
      i += 2;
    } else if (rest[0] == '{') {
      const std::size_t end = rest.find('}');
      const std::string path = end == rest.npos ? "" : trimmed(std::string(rest.substr(1, end - 1)));
      if (path.empty()) wrong_layout(layout, "a { without a column's name and }");
      flush();
      pieces_.push_back({true, learned, path});
      i += end + 1;
    } else if (rest[0] == '}') {
      wrong_layout(layout, "a } without {");
    } else if (rest.starts_with("\\n") || rest.starts_with("\\t") || rest.starts_with("\\\\")) {
      literal += rest[1] == 'n' ? '\n' : rest[1] == 't' ? '\t' : '\\';
      i += 2;
    } else {
      literal += rest[0];
      ++i;
    }
  }
  if (marked_ && !closed) wrong_layout(layout, "[[ without ]]");
  flush();
  const auto is_column = [&](const Piece& piece) { return piece.column && (piece.learned || !marked_); };
  if (std::none_of(pieces_.begin(), pieces_.end(), is_column)) wrong_layout(layout, "no column that is learned");
}

core::Json RowMap::laid_out(const core::JsonView& row) const {
  std::string prompt, learned;
  for (const Piece& piece : pieces_) {
    (piece.learned || !marked_ ? learned : prompt) +=
        piece.column ? spelled(column(row, piece.text, "layout")) : piece.text;
  }
  if (!marked_) return {{"text", learned}};
  return {{"prompt", prompt}, {"completion", learned}};
}

std::shared_ptr<const RowMap> RowMap::of_llama_factory(const core::JsonView& entry) {
  auto map = std::make_shared<RowMap>();
  const bool turns = entry.get_string("formatting", "alpaca") == "sharegpt";
  // LLaMA-Factory's name of a column, what is read here.
  const std::vector<std::pair<std::string, std::string>> names = {
      {"prompt", "instruction"}, {"query", "input"},        {"response", "output"}, {"history", "history"},
      {"messages", "conversations"}, {"system", "system"}, {"tools", "tools"},     {"chosen", "chosen"},
      {"rejected", "rejected"}};
  if (entry.has_value("columns")) {
    const core::JsonView columns = entry.at("columns");
    for (const std::string& key : columns.keys()) {
      const auto name = std::find_if(names.begin(), names.end(), [&](const auto& n) { return n.first == key; });
      if (!columns.has_value(key) || columns.at(key).as_string().empty()) continue;
      if (name == names.end()) columns.at(key).fail("the column of " + key + " is not read here; take it out");
      if (columns.at(key).as_string() != name->second) map->renamed_.emplace_back(name->second, columns.at(key).as_string());
    }
  }
  if (turns) {
    core::Json none = core::Json::object();
    const core::JsonView tags = entry.has_value("tags") ? entry.at("tags") : core::JsonView(none, entry.where());
    map->role_tag_ = tags.get_string("role_tag", "from");
    map->content_tag_ = tags.get_string("content_tag", "value");
    const std::vector<std::array<const char*, 3>> roles = {{"user_tag", "human", "human"},
                                                           {"assistant_tag", "gpt", "gpt"},
                                                           {"observation_tag", "observation", "observation"},
                                                           {"function_tag", "function_call", "function_call"},
                                                           {"system_tag", "system", "system"}};
    for (const auto& [tag, usual, here] : roles) {
      const std::string named = tags.get_string(tag, usual);
      if (named != usual) map->roles_.emplace_back(here, named);
    }
    if (map->role_tag_ != "from" || map->content_tag_ != "value" || !map->roles_.empty()) map->turns_ = "conversations";
  }
  if (map->renamed_.empty() && map->turns_.empty()) return nullptr;
  map->text_ = "dataset_info " + core::json_text(entry.raw());
  return map;
}

/// Turns with the usual keys and roles.
core::Json RowMap::turns_of(const core::Json& turns) const {
  core::Json result = turns;
  if (!result.is_array()) result = core::Json::array({turns});
  for (core::Json& turn : result) {
    if (!turn.is_object()) continue;
    core::Json usual = core::Json::object();
    for (const auto& [key, value] : turn.items()) {
      usual[key == role_tag_ ? "from" : key == content_tag_ ? "value" : key] = value;
    }
    if (usual.contains("from") && usual["from"].is_string()) {
      for (const auto& [here, named] : roles_) {
        if (usual["from"].get_ref<const std::string&>() != named) continue;
        usual["from"] = here;
        break;
      }
    }
    turn = std::move(usual);
  }
  return turns.is_array() ? result : result[0];
}

core::Json RowMap::renamed(const core::JsonView& row) const {
  core::Json result = core::Json::object();
  for (const auto& [name, path] : renamed_) result[name] = column(row, path, "columns").raw();
  for (const auto& [key, value] : row.raw().items()) {
    const bool taken = result.contains(key) || std::any_of(renamed_.begin(), renamed_.end(),
                                                           [&key = key](const auto& r) { return r.second == key; });
    if (!taken) result[key] = value;
  }
  if (turns_.empty()) return result;
  for (const char* key : {"conversations", "chosen", "rejected"}) {
    if (result.contains(key) && result[key].is_structured()) result[key] = turns_of(result[key]);
  }
  return result;
}

core::Json RowMap::apply(const core::JsonView& row, std::set<std::string>& unread) const {
  if (!row.is_object()) {
    throw DataError(row.where() + ": `columns` and `layout` name columns, and the row is no object, found " +
                    row.raw().type_name());
  }
  if (!renamed_.empty() || !turns_.empty()) return renamed(row);
  core::Json result = core::Json::object();
  std::set<std::string> used;
  for (const auto& [name, path] : columns_) {
    result[name] = column(row, path, "columns").raw();
    used.insert(first_key(row.raw(), path));
  }
  if (!pieces_.empty()) result = laid_out(row);
  for (const Piece& piece : pieces_) {
    if (piece.column) used.insert(first_key(row.raw(), piece.text));
  }
  for (const std::string& key : row.keys()) {
    if (!used.contains(key)) unread.insert(key);
  }
  return result;
}

core::Json with_columns(const RowMap* map, const core::JsonView& row) {
  core::Json result = row.raw();
  if (map == nullptr) return result;
  std::set<std::string> kept_anyway;
  const core::Json columns = map->apply(row, kept_anyway);
  for (const auto& [name, value] : columns.items()) result[name] = value;
  return result;
}

}  // namespace lowrank::data
