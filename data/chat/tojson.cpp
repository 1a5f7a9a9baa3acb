// The filter tojson as transformers has it: Python's json.dumps, without HTML escapes.
#include <algorithm>
#include <cmath>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/filters.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/chat/parameters.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

struct Style {
  bool ascii = false, sorted = false, lines = false;
  std::string indent, item_separator, key_separator;
};

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const Style& style) : out_(budget), style_(style) {}

  std::string take() { return out_.take(); }

  void write(const Value& value) {
    const Budget::Level level(out_.budget());
    out_.budget().step();
    switch (value.kind()) {
      case Kind::kNone:
        return out_.add("null");
      case Kind::kBool:
        return out_.add(value.boolean() ? "true" : "false");
      case Kind::kInt:
        return out_.add(std::to_string(value.integer()));
      case Kind::kFloat:
        return out_.add(number(value.number()));
      case Kind::kString:
        return string(value.text());
      case Kind::kList:
      case Kind::kTuple:
        return list(value.items());
      case Kind::kDict:
        return dict(value.dict().entries);
      default:
        throw TemplateError("an object of type " + type_name(value) + " cannot be written as JSON");
    }
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_text(value);
  }

  void escape(char32_t c) {
    static constexpr char kHex[] = "0123456789abcdef";
    out_.add(std::string{'\\', 'u', kHex[(c >> 12) & 15], kHex[(c >> 8) & 15], kHex[(c >> 4) & 15], kHex[c & 15]});
  }

  void string(std::string_view text) {
    out_.add('"');
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t begin = at;
      // Runs of what needs no escape go out together.
      while (at < text.size() && static_cast<unsigned char>(text[at]) >= 0x20 && text[at] != '"' && text[at] != '\\' &&
             !(style_.ascii && static_cast<unsigned char>(text[at]) >= 0x80)) {
        ++at;
      }
      out_.add(text.substr(begin, at - begin));
      if (at == text.size()) break;
      const char32_t c = next_character(text, at);
      static constexpr std::string_view kPlain = "\"\\\n\r\t\f\b", kLetters = "\"\\nrtfb";
      const std::size_t named = c < 0x80 ? kPlain.find(static_cast<char>(c)) : std::string_view::npos;
      if (named != std::string_view::npos) {
        out_.add(std::string{'\\', kLetters[named]});
      } else if (c > 0xFFFF) {
        escape(0xD800 + ((c - 0x10000) >> 10));
        escape(0xDC00 + ((c - 0x10000) & 0x3FF));
      } else {
        escape(c);
      }
    }
    out_.add('"');
  }

  void new_line() {
    if (!style_.lines) return;
    out_.add("\n");
    out_.add(static_cast<std::size_t>(depth_), style_.indent);
  }

  void list(const Items& items) {
    if (items.empty()) return out_.add("[]");
    out_.add("[");
    ++depth_;
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_.add(style_.item_separator);
      new_line();
      write(items[i]);
    }
    --depth_;
    new_line();
    out_.add("]");
  }

  void key(const Value& value) {
    switch (value.kind()) {
      case Kind::kString:
        return string(value.text());
      case Kind::kNone:
      case Kind::kBool:
      case Kind::kInt:
      case Kind::kFloat:
        out_.add('"');
        write(value);
        return out_.add('"');
      default:
        throw TemplateError("a key of type " + type_name(value) + " cannot be written as JSON");
    }
  }

  void dict(const std::vector<std::pair<Value, Value>>& entries) {
    if (entries.empty()) return out_.add("{}");
    std::vector<const std::pair<Value, Value>*> order;
    for (const auto& entry : entries) order.push_back(&entry);
    if (style_.sorted) {
      std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) {
        out_.budget().step();
        return compare(a->first, b->first) == -1;
      });
    }
    out_.add("{");
    ++depth_;
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (i > 0) out_.add(style_.item_separator);
      new_line();
      key(order[i]->first);
      out_.add(style_.key_separator);
      write(order[i]->second);
    }
    --depth_;
    new_line();
    out_.add("}");
  }

  Writer out_;
  const Style& style_;
  int depth_ = 0;
};

}  // namespace

Value tojson(Run& run, const Value& input, Call& call) {
  const Parameters p("tojson", call, {"ensure_ascii", "indent", "separators", "sort_keys"});
  Style style;
  style.ascii = p.truth(0, false);
  style.sorted = p.truth(3, false);
  style.lines = !p.is_none(1);
  if (style.lines && p[1].is_string()) {
    style.indent = p[1].text();
  } else if (style.lines) {
    Writer spaces(run.budget());
    spaces.add(static_cast<std::size_t>(std::max<std::int64_t>(0, p.integer(1, 0))), " ");
    style.indent = spaces.take();
  }
  style.item_separator = style.lines ? "," : ", ";
  style.key_separator = ": ";
  if (!p.is_none(2)) {
    const Items separators = to_items(run.budget(), p[2]);
    if (separators.size() != 2 || !separators[0].is_string() || !separators[1].is_string()) {
      throw TemplateError("tojson: separators are two strings");
    }
    style.item_separator = separators[0].text();
    style.key_separator = separators[1].text();
  }
  JsonWriter out(run.budget(), style);
  out.write(input);
  return Value::string(out.take());
}

}  // namespace lowrank::data::jinja
