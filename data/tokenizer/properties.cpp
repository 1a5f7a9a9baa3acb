#include "lowrank/data/tokenizer/properties.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "lowrank/data/tokenizer/unicode_tables.h"

namespace lowrank::data {

namespace {

struct CategoryName {
  const char* name;
  const char* long_name;
};
// In the order of unicode::Category.
constexpr CategoryName kCategoryNames[] = {
    {"cn", "unassigned"},
    {"lu", "uppercaseletter"},
    {"ll", "lowercaseletter"},
    {"lt", "titlecaseletter"},
    {"lm", "modifierletter"},
    {"lo", "otherletter"},
    {"mn", "nonspacingmark"},
    {"mc", "spacingmark"},
    {"me", "enclosingmark"},
    {"nd", "decimalnumber"},
    {"nl", "letternumber"},
    {"no", "othernumber"},
    {"pc", "connectorpunctuation"},
    {"pd", "dashpunctuation"},
    {"ps", "openpunctuation"},
    {"pe", "closepunctuation"},
    {"pi", "initialpunctuation"},
    {"pf", "finalpunctuation"},
    {"po", "otherpunctuation"},
    {"sm", "mathsymbol"},
    {"sc", "currencysymbol"},
    {"sk", "modifiersymbol"},
    {"so", "othersymbol"},
    {"zs", "spaceseparator"},
    {"zl", "lineseparator"},
    {"zp", "paragraphseparator"},
    {"cc", "control"},
    {"cf", "format"},
    {"cs", "surrogate"},
    {"co", "privateuse"},
};
constexpr CategoryName kGroups[] = {{"l", "letter"}, {"m", "mark"},      {"n", "number"}, {"p", "punctuation"},
                                    {"s", "symbol"}, {"z", "separator"}, {"c", "other"}};

// The characters whose run has a value that is wanted.
template <class Wanted>
CharacterSet from_runs(std::span<const std::uint32_t> runs, const Wanted& wanted) {
  std::vector<CharacterSet::Range> out;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const char32_t last = i + 1 < runs.size() ? (runs[i + 1] >> 8) - 1 : kLastCharacter;
    if (wanted(runs[i] & 0xFF)) out.push_back({runs[i] >> 8, last});
  }
  return CharacterSet::of(std::move(out));
}

CharacterSet from_ranges(std::span<const std::uint32_t> ends) {
  std::vector<CharacterSet::Range> out;
  for (std::size_t i = 0; i + 1 < ends.size(); i += 2) out.push_back({ends[i], ends[i + 1]});
  return CharacterSet::of(std::move(out));
}

// Surrogates are no characters: they are Cs, and no text has them.
CharacterSet categories(std::string_view prefix) {
  return from_runs(unicode::kCategories, [&](std::uint32_t value) {
    return std::string_view(kCategoryNames[value].name).starts_with(prefix);
  });
}

CharacterSet white_space() { return CharacterSet::of({{0x09, 0x0D}, {0x85, 0x85}}) | categories("z"); }
CharacterSet alphabetic() { return categories("l") | categories("nl") | from_ranges(unicode::kAlphabeticToo); }
CharacterSet lowercase_letters() { return categories("ll") | from_ranges(unicode::kLowercaseToo); }
CharacterSet uppercase_letters() { return categories("lu") | from_ranges(unicode::kUppercaseToo); }

std::string folded(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return out;
}

// Whether `names` ("latn latin") has the name.
bool has_name(const char* names, const std::string& name) {
  for (const char* at = names;;) {
    const char* end = std::strchr(at, ' ');
    if (std::string_view(at, end == nullptr ? std::strlen(at) : static_cast<std::size_t>(end - at)) == name)
      return true;
    if (end == nullptr) return false;
    at = end + 1;
  }
}

}  // namespace

CharacterSet word_alone() {
  return *posix_class("word") | CharacterSet::of({{0xB2, 0xB3}, {0xB9, 0xB9}, {0xBC, 0xBE}});
}

RustClasses rust_classes() {
  const CharacterSet ascii_punctuation = CharacterSet::of({{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}});
  return {.numeric = categories("n") ^ from_ranges(unicode::kNumericChanges),
          .punctuation = (categories("p") | ascii_punctuation) ^ from_ranges(unicode::kPunctuationChanges),
          .word = *posix_class("word") | CharacterSet(0x200C, 0x200D),
          .mark = categories("m") ^ from_ranges(unicode::kMarkChanges),
          .nonspacing = categories("mn") ^ from_ranges(unicode::kNonspacingChanges),
          .control = (categories("cc") | categories("cf") | categories("co")) ^ from_ranges(unicode::kControlChanges)};
}

std::optional<CharacterSet> posix_class(std::string_view name) {
  if (name == "alnum") return alphabetic() | categories("nd");
  if (name == "alpha") return alphabetic();
  if (name == "ascii") return CharacterSet(0, 0x7F);
  if (name == "blank") return categories("zs") | CharacterSet('\t', '\t');
  if (name == "cntrl") return categories("cc");
  if (name == "digit") return categories("nd");
  if (name == "graph") return ~(white_space() | categories("cc") | categories("cn") | categories("cs"));
  if (name == "lower") return lowercase_letters();
  if (name == "print") {  // not the two separators of lines and paragraphs
    return ~(categories("cc") | categories("cn") | categories("cs") | CharacterSet(0x2028, 0x2029));
  }
  if (name == "punct") return categories("p") | categories("s");
  if (name == "space") return white_space();
  if (name == "upper") return uppercase_letters();
  if (name == "xdigit") return CharacterSet::of({{'0', '9'}, {'A', 'F'}, {'a', 'f'}});
  if (name == "word") return alphabetic() | categories("m") | categories("nd") | categories("pc");
  return std::nullopt;
}

std::optional<CharacterSet> character_property(std::string_view spelled) {
  const std::string name = folded(spelled);
  for (const auto& group : kGroups) {
    if (name == group.name || name == group.long_name) return categories(group.name);
  }
  for (const auto& category : kCategoryNames) {
    if (name == category.name || name == category.long_name) return categories(category.name);
  }
  if (name == "lc" || name == "casedletter") return categories("lu") | categories("ll") | categories("lt");
  if (name == "any") return CharacterSet(0, kLastCharacter);
  if (name == "assigned") return ~categories("cn");
  if (name == "punct") return categories("p");  // unlike [:punct:]
  if (name == "word") return word_alone();
  if (name == "alphabetic") return alphabetic();
  if (name == "lowercase") return lowercase_letters();
  if (name == "uppercase") return uppercase_letters();
  if (name == "whitespace") return white_space();
  if (const auto set = posix_class(name)) return set;
  for (std::size_t i = 0; i < unicode::kScriptNames.size(); ++i) {
    if (has_name(unicode::kScriptNames[i], name)) {
      return from_runs(unicode::kScripts, [&](std::uint32_t value) { return value == i; });
    }
  }
  return std::nullopt;
}

}  // namespace lowrank::data
