// Methods of Python's str.
#include <algorithm>
#include <limits>
#include <string_view>
#include <unordered_map>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/methods.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

struct Context {
  Run& run;
  const Value& self;
  const std::string& text;
  Call& call;

  Value made(std::string out) const { return run.string(std::move(out), self.is_markup()); }
  Value made(std::string_view out) const { return made(std::string(out)); }
  std::int64_t size() const { return static_cast<std::int64_t>(self.text_object().characters); }
};

using TextMethod = Value (*)(const Context&);

Value list_of(const Context& c, const std::vector<std::string_view>& pieces) {
  Items items;
  items.reserve(pieces.size());
  for (const std::string_view piece : pieces) items.push_back(c.made(piece));
  return Value::list(c.run.budget(), std::move(items));
}

template <std::string (*convert)(std::string_view)>
Value converted(const Context& c) {
  const Parameters none("a method of str", c.call, {});
  c.run.budget().bytes(5 * c.text.size());  // the characters one by one
  return c.made(convert(c.text));
}

template <bool left, bool right>
Value stripped(const Context& c) {
  const Parameters p("strip", c.call, {"chars"});
  if (p.is_none(0)) return c.made(strip(c.text, nullptr, left, right));
  const std::string_view characters = p.text(0);
  c.run.budget().step(c.text.size() * (1 + characters.size() / 64) / 64);
  return c.made(strip(c.text, &characters, left, right));
}

template <bool from_right>
Value split(const Context& c) {
  const Parameters p("split", c.call, {"sep", "maxsplit"});
  const std::int64_t most = p.integer(1, -1);
  c.run.budget().step(c.text.size() / 64);
  if (p.is_none(0)) return list_of(c, split_space(c.text, most, from_right));
  const std::string_view text = c.text, separator = p.text(0);
  if (separator.empty()) throw TemplateError("an empty separator");
  std::vector<std::string_view> pieces;
  if (!from_right) {
    std::size_t begin = 0, at = 0;
    for (std::int64_t n = 0; (most < 0 || n < most) && (at = text.find(separator, begin)) != std::string::npos; ++n) {
      pieces.push_back(text.substr(begin, at - begin));
      begin = at + separator.size();
    }
    pieces.push_back(text.substr(begin));
  } else {
    std::size_t end = text.size();
    for (std::int64_t n = 0; (most < 0 || n < most) && end >= separator.size(); ++n) {
      const std::size_t at = text.rfind(separator, end - separator.size());
      if (at == std::string::npos) break;
      pieces.push_back(text.substr(at + separator.size(), end - at - separator.size()));
      end = at;
    }
    pieces.push_back(text.substr(0, end));
    std::reverse(pieces.begin(), pieces.end());
  }
  return list_of(c, pieces);
}

Value splitlines(const Context& c) {
  const Parameters p("splitlines", c.call, {"keepends"});
  return list_of(c, split_lines(c.text, p.truth(0, false)));
}

template <bool from_right>
Value partition(const Context& c) {
  const Parameters p("partition", c.call, {"sep"}, 1);
  const std::string_view text = c.text, separator = p.text(0);
  if (separator.empty()) throw TemplateError("an empty separator");
  const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
  Items items;
  if (at == std::string::npos) {
    items = {c.made(from_right ? "" : text), c.made(std::string_view()), c.made(from_right ? text : "")};
  } else {
    items = {c.made(text.substr(0, at)), c.made(separator), c.made(text.substr(at + separator.size()))};
  }
  return Value::tuple(c.run.budget(), std::move(items));
}

std::string safe_text(const Context& c, const Value& argument) {  // what joins markup is escaped
  return c.self.is_markup() && !argument.is_markup() ? escape_html(argument.text()) : argument.text();
}

Value replace(const Context& c) {
  const Parameters p("replace", c.call, {"old", "new", "count"}, 2);
  p.text(0);
  p.text(1);
  return c.made(replaced(c.run.budget(), c.text, p.text(0), safe_text(c, p[1]), p.integer(2, -1)));
}

Value join(const Context& c) {
  const Parameters p("join", c.call, {"iterable"}, 1);
  Writer out(c.run.budget());
  bool first = true;
  for (const Value& item : to_items(c.run.budget(), p[0])) {
    if (!first) out.add(c.text);
    first = false;
    if (!item.is_string() && !c.self.is_markup()) throw TemplateError("join needs strings, found a " + type_name(item));
    out.add(item.is_string() ? safe_text(c, item) : escape_html(to_text(c.run.budget(), item)));
  }
  return Value::string(out.take(), c.self.is_markup());
}

// The part that start and end select (characters), as an offset in the text; nothing where start lies behind the end.
std::optional<std::string_view> part(const Context& c, const Parameters& p, std::size_t start, std::size_t end) {
  const auto bound = [&](std::size_t i, std::int64_t fallback) { return p.is_none(i) ? fallback : p.integer(i, 0); };
  const std::int64_t first = bound(start, 0);
  if (first > c.size()) return std::nullopt;
  const std::int64_t from = clamp_index(first, c.size());
  const std::int64_t to = clamp_index(bound(end, std::numeric_limits<std::int64_t>::max()), c.size());
  if (from > to) return std::nullopt;
  const auto offset = [&](std::int64_t i) {
    return offset_of(c.text, c.self.text_object().characters, static_cast<std::size_t>(i));
  };
  c.run.budget().step(c.text.size() / 64);
  return std::string_view(c.text).substr(offset(from), offset(to) - offset(from));
}

template <bool at_end>
Value starts_or_ends(const Context& c) {
  const Parameters p(at_end ? "endswith" : "startswith", c.call, {"affix", "start", "end"}, 1);
  const auto window = part(c, p, 1, 2);
  const auto holds = [&](const Value& affix) {
    if (affix.is(Kind::kUndefined)) throw TemplateError(affix.why_undefined());
    if (!affix.is_string())
      throw TemplateError("startswith and endswith need a string or a tuple of strings, not a " + type_name(affix));
    return window && (at_end ? window->ends_with(affix.text()) : window->starts_with(affix.text()));
  };
  if (!p[0].is(Kind::kTuple)) return Value::boolean(holds(p[0]));
  return Value::boolean(std::any_of(p[0].items().begin(), p[0].items().end(), holds));
}

template <bool from_right, bool must>
Value find(const Context& c) {
  const Parameters p("find", c.call, {"sub", "start", "end"}, 1);
  const std::string& sought = p.text(0);
  const auto window = part(c, p, 1, 2);
  const std::size_t at = !window ? std::string::npos : from_right ? window->rfind(sought) : window->find(sought);
  if (at == std::string::npos) {
    if (must) throw TemplateError("the substring was not found");
    return Value::integer(-1);
  }
  const auto offset = static_cast<std::size_t>(window->data() - c.text.data()) + at;
  return Value::integer(static_cast<std::int64_t>(count_characters(std::string_view(c.text).substr(0, offset))));
}

Value count(const Context& c) {
  const Parameters p("count", c.call, {"sub", "start", "end"}, 1);
  const std::string& sought = p.text(0);
  const auto window = part(c, p, 1, 2);
  if (!window) return Value::integer(0);
  if (sought.empty()) return Value::integer(static_cast<std::int64_t>(count_characters(*window)) + 1);
  std::int64_t n = 0;
  for (std::size_t at = 0; (at = window->find(sought, at)) != std::string::npos; at += sought.size()) ++n;
  return Value::integer(n);
}

template <int side>  // -1: the text on the left, 1: on the right, 0: in the middle
Value justified(const Context& c) {
  const Parameters p("ljust, rjust and center", c.call, {"width", "fillchar"}, 1);
  const std::int64_t width = p.integer(0, 0), room = std::max<std::int64_t>(0, width - c.size());
  std::string fill = " ";
  if (p.has(1)) {
    p.text(1);
    fill = safe_text(c, p[1]);
    if (count_characters(fill) != 1) throw TemplateError("the fill character must be exactly one character long");
  }
  std::int64_t left = side < 0 ? 0 : room;
  if (side == 0) left = room / 2 + (room & width & 1);  // CPython's own rounding
  Writer out(c.run.budget());
  out.add(static_cast<std::size_t>(left), fill);
  out.add(c.text);
  out.add(static_cast<std::size_t>(room - left), fill);
  return Value::string(out.take(), c.self.is_markup());
}

Value zfill(const Context& c) {
  const Parameters p("zfill", c.call, {"width"}, 1);
  const bool sign = c.text.starts_with('-') || c.text.starts_with('+');
  Writer out(c.run.budget());
  if (sign) out.add(c.text[0]);
  out.add(static_cast<std::size_t>(std::max<std::int64_t>(0, p.integer(0, 0) - c.size())), "0");
  out.add(std::string_view(c.text).substr(sign ? 1 : 0));
  return Value::string(out.take(), c.self.is_markup());
}

Value expandtabs(const Context& c) {
  const Parameters p("expandtabs", c.call, {"tabsize"});
  const std::int64_t tab = p.integer(0, 8);
  Writer out(c.run.budget());
  std::int64_t column = 0;
  for (std::size_t at = 0; at < c.text.size();) {
    const std::size_t begin = at;
    const char32_t character = next_character(c.text, at);
    if (character == '\t') {
      const std::int64_t spaces = tab > 0 ? tab - column % tab : 0;
      out.add(static_cast<std::size_t>(spaces), " ");
      column += spaces;
      continue;
    }
    out.add(std::string_view(c.text).substr(begin, at - begin));
    column = character == '\n' || character == '\r' ? 0 : column + 1;
  }
  return Value::string(out.take(), c.self.is_markup());
}

template <bool at_end>
Value remove_affix(const Context& c) {
  const Parameters p("removeprefix and removesuffix", c.call, {"affix"}, 1);
  const std::string_view text = c.text, affix = p.text(0);
  if (at_end) return c.made(text.ends_with(affix) ? text.substr(0, text.size() - affix.size()) : text);
  return c.made(text.starts_with(affix) ? text.substr(affix.size()) : text);
}

template <bool (*holds)(char32_t), bool of_empty>
Value every(const Context& c) {
  const Parameters none("a method of str", c.call, {});
  if (c.text.empty()) return Value::boolean(of_empty);
  c.run.budget().step(c.text.size() / 16);
  for (std::size_t at = 0; at < c.text.size();) {
    if (!holds(next_character(c.text, at))) return Value::boolean(false);
  }
  return Value::boolean(true);
}

bool is_alnum(char32_t c) { return is_alpha(c) || is_digit(c) || is_numeric_character(c); }
bool is_ascii(char32_t c) { return c < 0x80; }

template <bool wants_upper>
Value is_all_case(const Context& c) {
  const Parameters none("isupper and islower", c.call, {});
  return Value::boolean(is_in_case(c.text, wants_upper));
}

Value istitle(const Context& c) {
  const Parameters none("istitle", c.call, {});
  bool any = false, inside = false;
  for (const char32_t character : characters_of(c.text)) {
    const bool large = is_upper(character) || (is_cased(character) && !is_lower(character));
    if (large ? inside : is_lower(character) && !inside) return Value::boolean(false);
    inside = large || is_lower(character);
    any = any || inside;
  }
  return Value::boolean(any);
}

Value isidentifier(const Context& c) {
  const Parameters none("isidentifier", c.call, {});
  const std::u32string all = characters_of(c.text);
  const auto fits = [](char32_t x) { return x == '_' || is_word(x); };
  return Value::boolean(!all.empty() && !is_decimal(all[0]) && fits(all[0]) &&
                        std::all_of(all.begin(), all.end(), fits));
}

Value format(const Context& c) { return brace_format(c.run, c.self, c.call); }

Value format_map(const Context& c) {
  const Parameters p("format_map", c.call, {"mapping"}, 1);
  if (!p[0].is(Kind::kDict)) throw TemplateError("format_map needs a dict, not a " + type_name(p[0]));
  Call made;
  for (const auto& [key, value] : p[0].dict().entries) {
    if (key.is_string()) made.keywords.emplace_back(key.text(), value);
  }
  return brace_format(c.run, c.self, made);
}

const std::unordered_map<std::string_view, TextMethod>& text_methods_by_name() {
  static const std::unordered_map<std::string_view, TextMethod> methods = {
      {"capitalize", converted<capitalize>},
      {"casefold", converted<casefold>},
      {"center", justified<0>},
      {"count", count},
      {"endswith", starts_or_ends<true>},
      {"expandtabs", expandtabs},
      {"find", find<false, false>},
      {"format", format},
      {"format_map", format_map},
      {"index", find<false, true>},
      {"isalnum", every<is_alnum, false>},
      {"isalpha", every<is_alpha, false>},
      {"isascii", every<is_ascii, true>},
      {"isdecimal", every<is_decimal, false>},
      {"isdigit", every<is_digit, false>},
      {"isidentifier", isidentifier},
      {"islower", is_all_case<false>},
      {"isnumeric", every<is_numeric_character, false>},
      {"isprintable", every<is_printable, true>},
      {"isspace", every<is_python_space, false>},
      {"istitle", istitle},
      {"isupper", is_all_case<true>},
      {"join", join},
      {"ljust", justified<-1>},
      {"lower", converted<lower>},
      {"lstrip", stripped<true, false>},
      {"partition", partition<false>},
      {"removeprefix", remove_affix<false>},
      {"removesuffix", remove_affix<true>},
      {"replace", replace},
      {"rfind", find<true, false>},
      {"rindex", find<true, true>},
      {"rjust", justified<1>},
      {"rpartition", partition<true>},
      {"rsplit", split<true>},
      {"rstrip", stripped<false, true>},
      {"split", split<false>},
      {"splitlines", splitlines},
      {"startswith", starts_or_ends<false>},
      {"strip", stripped<true, true>},
      {"swapcase", converted<swapcase>},
      {"title", converted<title>},
      {"upper", converted<upper>},
      {"zfill", zfill},
  };
  return methods;
}

}  // namespace

std::string replaced(Budget& budget, std::string_view text, std::string_view old, std::string_view replacement,
                     std::int64_t most) {
  Writer out(budget);
  std::size_t begin = 0;
  const auto more = [&] { return most < 0 || most-- > 0; };
  if (old.empty()) {  // before every character and at the end
    for (; begin < text.size() && more(); begin += character_length(text[begin])) {
      out.add(replacement);
      out.add(text.substr(begin, character_length(text[begin])));
    }
    out.add(text.substr(begin));
    if (begin == text.size() && more()) out.add(replacement);
    return out.take();
  }
  for (std::size_t at; (at = text.find(old, begin)) != std::string::npos && more(); begin = at + old.size()) {
    out.add(text.substr(begin, at - begin));
    out.add(replacement);
  }
  out.add(text.substr(begin));
  return out.take();
}

bool has_text_method(std::string_view name) { return text_methods_by_name().count(name) > 0; }

Value call_text_method(Run& run, const Value& self, std::string_view name, Call& call) {
  return text_methods_by_name().at(name)({run, self, self.text(), call});
}

}  // namespace lowrank::data::jinja
