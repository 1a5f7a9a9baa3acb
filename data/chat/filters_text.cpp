// Filters of texts.
#include <algorithm>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/filters.h"
#include "lowrank/data/chat/methods.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

Value soft_string(Run& run, const Value& value) {  // a string as it is, anything else as printed
  return value.is_string() ? value : run.string(to_text(run.budget(), value));
}

template <typename Method>
Value by_method(Run& run, const Value& input, Call& call, const Method& method) {
  const Value text = soft_string(run, input);
  return call_text_method(run, text, method, call);
}

Value capitalize_filter(Run& run, const Value& input, Call& call) { return by_method(run, input, call, "capitalize"); }
Value lower_filter(Run& run, const Value& input, Call& call) { return by_method(run, input, call, "lower"); }
Value upper_filter(Run& run, const Value& input, Call& call) { return by_method(run, input, call, "upper"); }

Value trim(Run& run, const Value& input, Call& call) {
  const Parameters p("trim", call, {"chars"});
  Call made;
  if (p.has(0)) made.positional.push_back(p[0]);
  return by_method(run, input, made, "strip");
}

Value center(Run& run, const Value& input, Call& call) {
  const Parameters p("center", call, {"width"});
  Call made;
  made.positional.push_back(p.get(0, Value::integer(80)));
  return by_method(run, input, made, "center");
}

Value replace(Run& run, const Value& input, Call& call) {
  const Parameters p("replace", call, {"old", "new", "count"}, 2);
  Budget& budget = run.budget();
  return Value::string(replaced(budget, to_text(budget, input), to_text(budget, p[0]), to_text(budget, p[1]),
                                p.is_none(2) ? -1 : p.integer(2, -1)));
}

Value string_filter(Run& run, const Value& input, Call& call) {
  const Parameters none("string", call, {});
  return soft_string(run, input);
}

Value safe(Run& run, const Value& input, Call& call) {
  const Parameters none("safe", call, {});
  return run.string(to_text(run.budget(), input), true);
}

Value escape(Run& run, const Value& input, Call& call) {
  const Parameters none("escape", call, {});
  if (input.is_markup()) return input;
  const std::string text = to_text(run.budget(), input);
  run.budget().bytes(5 * text.size());
  return Value::string(escape_html(text), true);
}

Value forceescape(Run& run, const Value& input, Call& call) {
  const Parameters none("forceescape", call, {});
  const std::string text = to_text(run.budget(), input);
  run.budget().bytes(5 * text.size());
  return Value::string(escape_html(text), true);
}

Value format(Run& run, const Value& input, Call& call) {
  if (!call.positional.empty() && !call.keywords.empty()) {
    throw TemplateError("format cannot have arguments by position and by name at the same time");
  }
  const Value text = soft_string(run, input);
  if (call.keywords.empty()) {
    return binary(run.budget(), Op::kModulo, text, Value::tuple(run.budget(), std::move(call.positional)));
  }
  std::vector<std::pair<Value, Value>> entries;
  for (auto& [key, value] : call.keywords) entries.emplace_back(run.string(key), std::move(value));
  return binary(run.budget(), Op::kModulo, text, Value::dict(run.budget(), std::move(entries)));
}

Value indent(Run& run, const Value& input, Call& call) {
  const Parameters p("indent", call, {"width", "first", "blank"});
  if (!input.is_string()) {
    if (input.is(Kind::kUndefined)) throw TemplateError(input.why_undefined());
    throw TemplateError("indent needs a string, not a " + type_name(input));
  }
  Budget& budget = run.budget();
  const bool first = p.truth(1, false), blank = p.truth(2, false);
  Writer indention(budget);
  if (p.has(0) && p[0].is_string()) {
    indention.add(p[0].text());
  } else {
    indention.add(static_cast<std::size_t>(std::max<std::int64_t>(0, p.integer(0, 4))), " ");
  }
  budget.bytes(input.text().size());
  const std::string text = input.text() + "\n";
  Writer out(budget);
  if (first) out.add(indention.text());
  bool is_first = true;
  for (const std::string_view line : split_lines(text, false)) {
    if (!is_first) {
      out.add("\n");
      if (blank || !line.empty()) out.add(indention.text());
    }
    is_first = false;
    out.add(line);
  }
  return Value::string(out.take(), input.is_markup());
}

// Words begin behind - ( { [ < and white space.
Value title_filter(Run& run, const Value& input, Call& call) {
  const Parameters none("title", call, {});
  const Value text = soft_string(run, input);
  run.budget().bytes(5 * text.text().size());
  const auto is_break = [](char32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || is_python_space(c);
  };
  std::string out, word;
  const auto flush = [&] {
    if (word.empty()) return;
    const std::size_t n = character_length(word[0]);
    out += upper(std::string_view(word).substr(0, n)) + lower(std::string_view(word).substr(n));
    word.clear();
  };
  for (std::size_t at = 0; at < text.text().size();) {
    const std::size_t begin = at;
    const char32_t c = next_character(text.text(), at);
    if (is_break(c)) flush();
    (is_break(c) ? out : word).append(text.text(), begin, at - begin);
  }
  flush();
  return run.string(std::move(out));
}

Value truncate(Run& run, const Value& input, Call& call) {
  const Parameters p("truncate", call, {"length", "killwords", "end", "leeway"});
  const std::string end = p.text(2, "...");
  const std::int64_t length_wanted = p.integer(0, 255), leeway = p.is_none(3) ? 5 : p.integer(3, 5);
  const auto end_size = static_cast<std::int64_t>(count_characters(end));
  if (length_wanted < end_size) throw TemplateError("truncate: the length is less than that of what it ends with");
  if (leeway < 0) throw TemplateError("truncate: a leeway below zero");
  const auto size_of_input = length(input);
  if (size_of_input && *size_of_input <= length_wanted + leeway) return input;
  if (!input.is_string()) throw TemplateError("truncate needs a string, not a " + type_name(input));
  const std::size_t size = input.text_object().characters;
  std::string kept =
      input.text().substr(0, offset_of(input.text(), size, static_cast<std::size_t>(length_wanted - end_size)));
  if (!p.truth(1, false)) kept = kept.substr(0, kept.rfind(' '));  // all of it where there is no space
  return run.string(kept + end);
}

Value wordcount(Run& run, const Value& input, Call& call) {
  const Parameters none("wordcount", call, {});
  const std::string text = to_text(run.budget(), input);
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    const bool in_word = c == '_' || is_alpha(c) || is_digit(c) || is_numeric_character(c);
    words += in_word && !inside ? 1 : 0;
    inside = in_word;
  }
  return Value::integer(words);
}

void quote_url(Writer& out, std::string_view text, bool in_query) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                       c == '.' || c == '-' || c == '~' || (c == '/' && !in_query);
    const auto byte = static_cast<unsigned char>(c);
    if (plain) {
      out.add(c);
    } else if (c == ' ' && in_query) {
      out.add("+");
    } else {
      out.add(std::string{'%', kHex[byte >> 4], kHex[byte & 15]});
    }
  }
}

Value urlencode(Run& run, const Value& input, Call& call) {
  const Parameters none("urlencode", call, {});
  Writer out(run.budget());
  if (input.is_string() || !is_iterable(input)) {
    quote_url(out, to_text(run.budget(), input), false);
    return Value::string(out.take());
  }
  bool first = true;
  for (const Value& pair : to_items(run.budget(), input.is(Kind::kDict) ? Value::view(input, 'i') : input)) {
    const Items both = to_items(run.budget(), pair);
    if (both.size() != 2) throw TemplateError("urlencode needs a string, a dict or pairs");
    if (!first) out.add("&");
    first = false;
    quote_url(out, to_text(run.budget(), both[0]), true);
    out.add("=");
    quote_url(out, to_text(run.budget(), both[1]), true);
  }
  return Value::string(out.take());
}

}  // namespace

const FilterTable& text_filters() {
  static const FilterTable filters = {
      {"capitalize", capitalize_filter},
      {"center", center},
      {"e", escape},
      {"escape", escape},
      {"forceescape", forceescape},
      {"format", format},
      {"indent", indent},
      {"lower", lower_filter},
      {"replace", replace},
      {"safe", safe},
      {"string", string_filter},
      {"title", title_filter},
      {"trim", trim},
      {"truncate", truncate},
      {"upper", upper_filter},
      {"urlencode", urlencode},
      {"wordcount", wordcount},
  };
  return filters;
}

}  // namespace lowrank::data::jinja
