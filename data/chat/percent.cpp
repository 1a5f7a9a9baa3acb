#include "lowrank/data/chat/percent.h"

#include <cmath>

#include "lowrank/data/chat/characters.h"
#include "lowrank/data/chat/number_format.h"
#include "lowrank/data/chat/operators.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data::jinja {
namespace {

constexpr std::int64_t kMostDigits = 1000;

class Percent {
 public:
  Percent(Budget& budget, const Value& format, const Value& values)
      : budget_(budget), format_(format), text_(format.text()), values_(values), out_(budget) {}

  Value run() {
    while (at_ < text_.size()) {
      const std::size_t percent = std::min(text_.find('%', at_), text_.size());
      out_.add(std::string_view(text_).substr(at_, percent - at_));
      at_ = percent;
      if (at_ < text_.size()) code();
    }
    const bool takes_any = values_.is(Kind::kDict) || values_.is(Kind::kList) || values_.is(Kind::kRange) ||
                           values_.is(Kind::kUndefined);  // what has [] passes for a dict
    const std::size_t count = values_.is(Kind::kTuple) ? values_.items().size() : takes_any ? used_ : 1;
    if (used_ < count && !by_name_) throw TemplateError("not all arguments converted during string formatting");
    return Value::string(out_.take(), format_.is_markup());
  }

 private:
  char now() const {
    if (at_ >= text_.size()) throw TemplateError("an incomplete format behind '%'");
    return text_[at_];
  }

  const Value& next() {
    if (values_.is(Kind::kTuple)) {
      if (used_ >= values_.items().size()) throw TemplateError("not enough arguments for the format string");
      return values_.items()[used_++];
    }
    if (used_ > 0) throw TemplateError("not enough arguments for the format string");
    ++used_;
    return values_;
  }

  std::int64_t number() {
    if (now() == '*') {
      ++at_;
      const std::int64_t n = as_integer(next());
      return n;
    }
    std::int64_t n = 0;
    while (now() >= '0' && now() <= '9') {
      n = std::min<std::int64_t>(n * 10 + (text_[at_++] - '0'), std::int64_t{1} << 40);
    }
    return n;
  }

  void code() {
    ++at_;
    if (now() == '%') {
      ++at_;
      return out_.add('%');
    }
    NumberFormat f;
    const Value* value = nullptr;
    if (now() == '(') {
      std::size_t end = at_ + 1;
      for (int open = 1; open > 0; ++end) {
        if (end >= text_.size()) throw TemplateError("an incomplete format key");
        open += text_[end] == '(' ? 1 : text_[end] == ')' ? -1 : 0;
      }
      if (!values_.is(Kind::kDict)) throw TemplateError("the format needs a dict");
      const std::string key(text_, at_ + 1, end - at_ - 2);
      value = values_.dict().find(std::string_view(key));
      if (value == nullptr) throw TemplateError("the format's key " + string_literal(key) + " is not in the dict");
      by_name_ = true;
      at_ = end;
    }
    bool zero = false, left = false;
    for (;; ++at_) {
      const char c = now();
      if (c == '-') {
        left = true;
      } else if (c == '+') {
        f.sign = '+';
      } else if (c == ' ') {
        f.sign = f.sign == '+' ? '+' : ' ';
      } else if (c == '#') {
        f.alternate = true;
      } else if (c == '0') {
        zero = true;
      } else {
        break;
      }
    }
    f.width = number();
    if (f.width < 0) {
      left = true;
      f.width = -f.width;
    }
    if (now() == '.') {
      ++at_;
      f.precision = std::max<std::int64_t>(0, number());
    }
    while (now() == 'h' || now() == 'l' || now() == 'L') ++at_;
    f.type = now();
    ++at_;
    if (value == nullptr) value = &next();
    f.align = left ? '<' : '>';
    write(*value, f, zero && !left);
  }

  void write(const Value& value, NumberFormat f, bool zero) {
    switch (f.type) {
      case 's':
      case 'r':
      case 'a': {
        std::string text = f.type == 's' ? to_text(budget_, value) : to_repr(budget_, value);
        if (format_.is_markup() && !value.is_markup()) text = escape_html(text);
        if (f.precision >= 0)
          text.resize(offset_of(text, count_characters(text), static_cast<std::size_t>(f.precision)));
        return out_.add(padded(budget_, text, f, false));
      }
      case 'c': {
        if (!value.is_string()) {
          std::string text;
          const std::int64_t c = as_integer(value);
          if (c < 0 || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
            throw TemplateError("%c with a number that is no character");
          append_character(text, static_cast<char32_t>(c));
          return out_.add(padded(budget_, text, f, false));
        }
        if (value.text_object().characters != 1) throw TemplateError("%c needs an integer or one character");
        return out_.add(padded(budget_, value.text(), f, false));
      }
      default:
        break;
    }
    if (!value.is_number()) {
      if (value.is(Kind::kUndefined)) throw TemplateError(value.why_undefined());
      throw TemplateError(std::string("%") + f.type + " needs a number, not a " + type_name(value));
    }
    if (f.precision > kMostDigits)
      throw TemplateError("a precision of more than " + std::to_string(kMostDigits) + " digits");
    if (zero) {
      f.fill = U'0';
      f.align = '=';
    }
    const std::string_view floats = "eEfFgG", integers = "diuoxX";
    if (floats.find(f.type) != std::string_view::npos) {
      return out_.add(padded(budget_, float_digits(value.number(), f), f, true));
    }
    if (integers.find(f.type) == std::string_view::npos) {
      throw TemplateError(std::string("an unknown format code '%") + (f.type < 0x20 || f.type > 0x7E ? '?' : f.type) +
                          "'");
    }
    const bool is_decimal_code = f.type == 'd' || f.type == 'i' || f.type == 'u';
    if (value.is(Kind::kFloat) && !is_decimal_code) throw TemplateError("%o and %x need an integer, not a float");
    if (is_decimal_code) f.type = 'd';
    out_.add(padded(budget_, integer_digits(truncated(value), f), f, true));
  }

  static std::int64_t truncated(const Value& value) {
    if (!value.is(Kind::kFloat)) return value.integer();
    const double whole = std::trunc(value.number());
    if (!(std::fabs(whole) < 9.2e18)) throw TemplateError("a float that does not fit into 64 bits");
    return static_cast<std::int64_t>(whole);
  }

  Budget& budget_;
  const Value& format_;
  const std::string& text_;
  const Value& values_;
  Writer out_;
  std::size_t at_ = 0, used_ = 0;
  bool by_name_ = false;
};

}  // namespace

Value percent_format(Budget& budget, const Value& format, const Value& values) {
  return Percent(budget, format, values).run();
}

}  // namespace lowrank::data::jinja
