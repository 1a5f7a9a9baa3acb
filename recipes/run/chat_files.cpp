#include "lowrank/recipes/run/chat_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/data/chat/find_template.h"
#include "lowrank/data/chat/turns.h"

namespace lowrank::recipes {

namespace {

namespace fs = std::filesystem;
using core::Json;

/// JSON where it is, else text; True, False and None as Python has them.
Json value_of(const std::string& text) {
  if (text == "True" || text == "False") return text == "True";
  if (text == "None") return nullptr;
  try {
    return core::parse_json(text, "");
  } catch (const FormatError&) {
    return text;
  }
}

void read_loss_on(const std::vector<std::string>& words, data::ChatOptions& options) {
  if (words.empty()) return;
  const std::string& which = words.front();
  const std::vector<std::string> known = {"all-assistant", "last", "roles"};
  if (std::find(known.begin(), known.end(), which) == known.end() || (which == "roles") != (words.size() > 1)) {
    throw FieldError(
        "loss-on",
        fmt::format("expected all-assistant, last, or roles with their names (roles user,assistant), "
                    "found '{}'{}",
                    core::printable(fmt::format("{}", fmt::join(words, " "))), core::did_you_mean(which, known)));
  }
  if (which == "last") options.loss_on = data::LossOn::kLast;
  if (which != "roles") return;
  options.loss_on = data::LossOn::kRoles;
  for (std::size_t i = 1; i < words.size(); ++i) {
    std::string names = words[i] + ",";
    for (std::size_t at = 0, comma; (comma = names.find(',', at)) != std::string::npos; at = comma + 1) {
      if (comma > at) options.roles.push_back(data::usual_role(names.substr(at, comma - at)));
    }
  }
}

std::optional<std::string> same_file(const fs::path& folder, const std::string& name) {
  const fs::path file = folder / name;
  if (!fs::is_regular_file(file)) return std::nullopt;
  return core::read_file(file);
}

}  // namespace

data::ChatRequest chat_request(const ChatSpec& spec) {
  data::ChatRequest request;
  if (spec.chat_template == "none") {
    request.plain = true;
  } else if (spec.chat_template) {
    request.file = *spec.chat_template;
  }
  for (const std::string& word : spec.template_arg) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw FieldError("template-arg", fmt::format("expected NAME=VALUE, such as enable_thinking=false, found '{}'",
                                                   core::printable(word)));
    }
    request.options.arguments[word.substr(0, equals)] = value_of(word.substr(equals + 1));
  }
  if (spec.date) request.options.date = data::parse_chat_date(*spec.date);
  read_loss_on(spec.loss_on, request.options);
  return request;
}

std::shared_ptr<const data::ChatLayout> chat_layout(const ChatSpec& spec, const data::Tokenizer& tokenizer,
                                                    const fs::path& model, const std::optional<fs::path>& adapter) {
  data::ChatRequest request = chat_request(spec);
  if (!request.options.date) request.options.date = data::today();
  std::vector<fs::path> folders;
  if (adapter) folders.push_back(*adapter);
  folders.push_back(model);
  return data::find_chat_layout(tokenizer, folders, request);
}

void carry_template(CarriedFiles& files, const data::ChatLayout& layout, const fs::path& model) {
  if (!layout.has_template()) return;
  const data::ChatTemplate& used = layout.main_template();
  const std::vector<data::TemplateSource> own = data::chat_templates_in(model);
  const auto same = [&](const data::TemplateSource& source) { return source.text == used.source(); };
  if (std::any_of(own.begin(), own.end(), same)) return;
  files["chat_template.jinja"] = used.source();
  if (layout.tool_template() != nullptr)
    files["additional_chat_templates/tool_use.jinja"] = layout.tool_template()->source();
}

void carry_tokenizer(CarriedFiles& files, const data::Tokenizer& tokenizer, const fs::path& model) {
  for (const fs::path& file : tokenizer.files()) {
    const std::string name = file.filename().string();
    const std::string content = core::read_file(file);
    const bool is_template = name == "chat_template.jinja" || name == "chat_template.json";  // carry_template's
    if (same_file(model, name) != content && !is_template) files[name] = content;
  }
}

void carry_end(CarriedFiles& files, data::TokenId end, const models::DecoderConfig& config, const fs::path& model) {
  const std::optional<std::string> own = same_file(model, "generation_config.json");
  Json json = own ? core::parse_json(*own, "generation_config.json") : Json::object();
  std::vector<std::int64_t> ends = {end};  // first: what programs that know one end token take
  ends.insert(ends.end(), config.eos_token_ids.begin(), config.eos_token_ids.end());
  json["eos_token_id"] = ends;
  files["generation_config.json"] = core::json_text(json, 2) + "\n";
}

CarriedFiles carried_by(const fs::path& adapter) {
  CarriedFiles files;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
        "vocab.json", "merges.txt", "tekken.json", "chat_template.jinja", "chat_template.json", "generation_config.json"}) {
    if (auto content = same_file(adapter, name)) files[name] = std::move(*content);
  }
  const fs::path more = adapter / "additional_chat_templates";
  if (!fs::is_directory(more)) return files;
  for (const auto& entry : fs::directory_iterator(more)) {
    if (entry.path().extension() != ".jinja") continue;
    files["additional_chat_templates/" + entry.path().filename().string()] =
        core::read_file(core::FileRef::within(adapter, entry.path()));
  }
  return files;
}

void write_carried(const CarriedFiles& files, const fs::path& directory) {
  for (const auto& [name, content] : files) {
    const fs::path file = directory / name;
    if (file.parent_path() != directory) {
      core::refuse_link(file.parent_path());
      core::make_folder(file.parent_path());
    }
    core::write_file(file, content);
  }
}

}  // namespace lowrank::recipes
