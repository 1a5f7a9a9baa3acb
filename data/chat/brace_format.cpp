// str.format: "{} {name.attribute[0]!r:>10.3f}"
#include <algorithm>
#include <cmath>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/methods.h"
#include "lowrank/data/chat/number_format.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

class Braces {
 public:
  Braces(Run& run, const Value& self, const Call& call) : run_(run), self_(self), call_(call) {}

  std::string expand(std::string_view text, int depth) {
    if (depth > 2) throw TemplateError("a format inside a format inside a format");
    Writer out(run_.budget());
    for (std::size_t at = 0; at < text.size(); ++at) {
      const char c = text[at];
      if (c != '{' && c != '}') {
        const std::size_t end = std::min(text.find_first_of("{}", at), text.size());
        out.add(text.substr(at, end - at));
        at = end - 1;
      } else if (at + 1 < text.size() && text[at + 1] == c && depth == 1) {
        out.add(c);
        ++at;
      } else if (c == '}') {
        throw TemplateError("a single '}' in a format");
      } else {
        std::size_t end = at + 1;
        for (int open = 1; open > 0; ++end) {
          if (end >= text.size()) throw TemplateError("a single '{' in a format");
          open += text[end] == '{' ? 1 : text[end] == '}' ? -1 : 0;
        }
        out.add(field(text.substr(at + 1, end - at - 2), depth));
        at = end - 1;
      }
    }
    return out.take();
  }

 private:
  std::string field(std::string_view text, int depth) {
    std::size_t end = 0;
    for (bool bracket = false; end < text.size() && (bracket || (text[end] != '!' && text[end] != ':')); ++end) {
      bracket = text[end] == '[' || (bracket && text[end] != ']');
    }
    Value value = find(text.substr(0, end));
    text.remove_prefix(end);
    if (text.starts_with('!')) {
      const char how = text.size() > 1 ? text[1] : 0;
      if (how != 's' && how != 'r' && how != 'a') throw TemplateError("a conversion in a format is !s, !r or !a");
      value = run_.string(how == 's' ? to_text(run_.budget(), value) : to_repr(run_.budget(), value));
      text.remove_prefix(2);
      if (!text.empty() && text[0] != ':') throw TemplateError("expected ':' behind the conversion of a format");
    }
    const std::string spec = text.empty() ? "" : expand(text.substr(1), depth + 1);
    std::string out = formatted(value, spec);
    return self_.is_markup() && !value.is_markup() ? escape_html(out) : out;
  }

  Value find(std::string_view path) {
    const std::size_t end = std::min(path.find_first_of(".["), path.size());
    const std::string name(path.substr(0, end));
    Value value = argument(name);
    for (path.remove_prefix(end); !path.empty();) {
      if (path[0] == '.') {
        const std::size_t stop = std::min(path.find_first_of(".[", 1), path.size());
        value = run_.attribute(value, std::string(path.substr(1, stop - 1)));
        path.remove_prefix(stop);
      } else {
        const std::size_t stop = path.find(']');
        if (stop == std::string_view::npos) throw TemplateError("a missing ']' in a format");
        const std::string key(path.substr(1, stop - 1));
        value = run_.item(value, is_index(key) ? Value::integer(std::stoll(key)) : Value::string(key));
        path.remove_prefix(stop + 1);
        if (!path.empty() && path[0] != '.' && path[0] != '[')
          throw TemplateError("only '.' or '[' may follow ']' in a format");
      }
    }
    return value;
  }

  static bool is_index(const std::string& s) {
    return !s.empty() && s.size() < 18 && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  Value argument(const std::string& name) {
    if (name.empty() || is_index(name)) {
      if (name.empty() ? numbered_ : counted_ > 0) {
        throw TemplateError("a format cannot have both numbered fields and fields without a number");
      }
      numbered_ = numbered_ || !name.empty();
      const std::size_t i = name.empty() ? counted_++ : static_cast<std::size_t>(std::stoull(name));
      if (i >= call_.positional.size()) throw TemplateError("a format needs more arguments than it was given");
      return call_.positional[i];
    }
    for (const auto& [key, value] : call_.keywords) {
      if (key == name) return value;
    }
    throw TemplateError("the format's field " + string_literal(name) + " was not given");
  }

  static NumberFormat parsed(std::string_view spec) {
    NumberFormat f;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    if (!spec.empty()) {
      std::size_t second = 0;
      const char32_t first = next_character(spec, second);
      if (second < spec.size() && is_align(spec[second])) {
        f.fill = first;
        f.align = spec[second];
        spec.remove_prefix(second + 1);
      } else if (is_align(spec[0])) {
        f.align = spec[0];
        spec.remove_prefix(1);
      }
    }
    const auto take = [&](char c) {
      if (!spec.starts_with(c)) return false;
      spec.remove_prefix(1);
      return true;
    };
    const auto number = [&] {
      std::int64_t n = 0;
      for (; !spec.empty() && spec[0] >= '0' && spec[0] <= '9'; spec.remove_prefix(1)) {
        n = std::min<std::int64_t>(n * 10 + (spec[0] - '0'), std::int64_t{1} << 40);
      }
      return n;
    };
    for (const char sign : {'+', '-', ' '}) {
      if (take(sign)) {
        f.sign = sign;
        break;
      }
    }
    f.alternate = take('#');
    if (take('0') && f.align == 0) {
      f.fill = U'0';
      f.align = '=';
    }
    f.width = number();
    if (take(',')) f.grouping = ',';
    if (take('_')) f.grouping = '_';
    if (take('.')) {
      if (spec.empty() || spec[0] < '0' || spec[0] > '9')
        throw TemplateError("a format without a precision behind '.'");
      f.precision = number();
      if (f.precision > 1000) throw TemplateError("a precision of more than 1000 digits");
    }
    if (!spec.empty()) {
      f.type = spec[0];
      spec.remove_prefix(1);
    }
    if (!spec.empty()) throw TemplateError("an invalid format specification");
    return f;
  }

  std::string formatted(const Value& value, const std::string& spec) {
    if (spec.empty()) return to_text(run_.budget(), value);
    NumberFormat f = parsed(spec);
    const auto unknown = [&] {
      throw TemplateError("unknown format code " + string_literal(std::string_view(&f.type, 1)) + " for a " +
                          type_name(value));
    };
    if (value.is(Kind::kFloat) ||
        (value.is_integral() && std::string_view("eEfFgG%").find(f.type ? f.type : ' ') != std::string_view::npos)) {
      return padded(run_.budget(), float_digits(value.number(), f), f, true);
    }
    if (value.is_integral() &&
        !(value.is(Kind::kBool) && f.type == 0 && spec.find_first_of("0123456789") == std::string::npos)) {
      if (std::string_view("bcdoxXn").find(f.type ? f.type : 'd') == std::string_view::npos) unknown();
      if (f.precision >= 0) throw TemplateError("a precision for an integer");
      if (f.type == 'c') {
        std::string c;
        const std::int64_t code = value.integer();
        if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
          throw TemplateError("a number that is no character");
        append_character(c, static_cast<char32_t>(code));
        return padded(run_.budget(), c, f, true);
      }
      return padded(run_.budget(), integer_digits(value.integer(), f), f, true);
    }
    if (!value.is_string()) throw TemplateError("a " + type_name(value) + " takes no format specification");
    if ((f.type != 0 && f.type != 's') || f.sign != '-' || f.grouping != 0 || f.alternate) unknown();
    if (f.align == '=') {
      if (f.fill != U'0') throw TemplateError("'=' alignment for a string");
      f.align = '<';  // "010" of a string: zeros behind it
    }
    std::string text = value.text();
    if (f.precision >= 0)
      text.resize(offset_of(text, value.text_object().characters, static_cast<std::size_t>(f.precision)));
    return padded(run_.budget(), text, f, false);
  }

  Run& run_;
  const Value& self_;
  const Call& call_;
  std::size_t counted_ = 0;
  bool numbered_ = false;
};

}  // namespace

Value brace_format(Run& run, const Value& self, const Call& call) {
  return run.string(Braces(run, self, call).expand(self.text(), 1), self.is_markup());
}

}  // namespace lowrank::data::jinja
