#include "lowrank/data/perturb.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <array>
#include <charconv>
#include <map>
#include <utility>

#include "lowrank/core/error.h"
#include "lowrank/core/random.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/unicode.h"

namespace lowrank::data {
namespace {

std::u32string to_characters(std::string_view text) {
  std::u32string characters;
  for (std::size_t at = 0; at < text.size();) characters += next_character(text, at);
  return characters;
}

char32_t upper(char32_t c) { return static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))); }
char32_t lower(char32_t c) { return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))); }
bool is_upper(char32_t c) { return lower(c) != c; }

bool is_letter(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

/// The keys around each letter on an English keyboard.
const std::map<char32_t, std::u32string>& neighbours() {
  static const std::map<char32_t, std::u32string> keys = {
      {U'q', U"wa"},     {U'w', U"qeas"},   {U'e', U"wrsd"},   {U'r', U"etdf"},   {U't', U"ryfg"},   {U'y', U"tugh"},
      {U'u', U"yihj"},   {U'i', U"uojk"},   {U'o', U"ipkl"},   {U'p', U"ol"},     {U'a', U"qwsz"},   {U's', U"awedxz"},
      {U'd', U"serfcx"}, {U'f', U"drtgvc"}, {U'g', U"ftyhbv"}, {U'h', U"gyujnb"}, {U'j', U"huikmn"}, {U'k', U"jiolm"},
      {U'l', U"kop"},    {U'z', U"asx"},    {U'x', U"zsdc"},   {U'c', U"xdfv"},   {U'v', U"cfgb"},   {U'b', U"vghn"},
      {U'n', U"bhjm"},   {U'm', U"njk"}};
  return keys;
}

/// What scanners confuse, the longer first.
constexpr std::array<std::pair<std::u32string_view, std::u32string_view>, 30> kConfusions = {{
    {U"rn", U"m"}, {U"cl", U"d"}, {U"vv", U"w"}, {U"li", U"h"}, {U"ii", U"u"}, {U"fi", U"fl"},
    {U"m", U"rn"}, {U"d", U"cl"}, {U"w", U"vv"}, {U"l", U"1"},  {U"1", U"l"},  {U"I", U"l"},
    {U"i", U"j"},  {U"O", U"0"},  {U"0", U"O"},  {U"o", U"c"},  {U"e", U"c"},  {U"c", U"e"},
    {U"a", U"o"},  {U"h", U"b"},  {U"b", U"h"},  {U"n", U"u"},  {U"u", U"n"},  {U"S", U"5"},
    {U"5", U"S"},  {U"B", U"8"},  {U"8", U"B"},  {U"g", U"q"},  {U"t", U"f"},  {U"f", U"t"},
}};

/// Draws of one document: `happens` and `choose` at a character's place.
struct Dice {
  core::RandomStream stream;
  double rate;
  std::uint64_t document;
  bool happens(std::size_t place) const { return stream.uniform(document, 2 * place) < rate; }
  std::size_t choose(std::size_t n, std::size_t place) const {
    return static_cast<std::size_t>(stream.below(n, document, 2 * place + 1));
  }
};

std::u32string typos(const std::u32string& text, const Dice& dice) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char32_t c = text[i];
    if (!is_letter(c) || !dice.happens(i)) {
      out += c;
      continue;
    }
    const auto keys = neighbours().find(lower(c));
    const bool can_swap = i + 1 < text.size() && is_letter(text[i + 1]) && text[i + 1] != c;
    switch (dice.choose(4, i)) {
      case 0:
        if (can_swap) {
          out += text[++i];
          out += c;
          break;
        }
        [[fallthrough]];
      case 1:  // left out
        break;
      case 2:
        out += {c, c};
        break;
      default: {
        if (keys == neighbours().end()) {
          out += {c, c};
          break;
        }
        const char32_t key = keys->second[dice.choose(keys->second.size(), text.size() + i)];
        out += is_upper(c) ? upper(key) : key;
      }
    }
  }
  return out;
}

std::u32string change_case(std::u32string text, const Dice& dice) {
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin;
    bool capitals = false;
    for (; end < text.size() && is_letter(text[end]); ++end) capitals = capitals || is_upper(text[end]);
    if (end > begin && dice.happens(begin)) {
      for (std::size_t i = begin; i < end; ++i) text[i] = capitals ? lower(text[i]) : upper(text[i]);
    }
    begin = end + 1;
  }
  return text;
}

std::u32string misread(const std::u32string& text, const Dice& dice) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t taken = 0;
    for (const auto& [from, to] : kConfusions) {
      if (text.compare(i, from.size(), from) != 0) continue;
      if (dice.happens(i)) {
        out += to;
        taken = from.size();
      }
      break;
    }
    if (taken == 0) out += text[i];
    i += taken == 0 ? 1 : taken;
  }
  return out;
}

}  // namespace

Perturbation parse_perturbation(const std::string& text) {
  const std::vector<std::string> names = {"typos", "case", "ocr"};
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  Perturbation result;
  result.name = text;
  if (name == "typos") {
    result.kind = Perturbation::Kind::kTypos;
  } else if (name == "case") {
    result.kind = Perturbation::Kind::kCase;
    result.rate = 0.25;
  } else if (name == "ocr") {
    result.kind = Perturbation::Kind::kOcr;
  } else {
    throw ConfigError(
        fmt::format("`perturb` is typos, case or ocr, each with a rate if wished (typos:0.05); found '{}'{}",
                    core::printable(text), core::did_you_mean(name, names)));
  }
  if (colon == std::string::npos) return result;
  const char* end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data() + colon + 1, end, result.rate);
  if (error != std::errc() || parsed != end || !(result.rate > 0 && result.rate <= 1)) {
    throw ConfigError(
        fmt::format("`perturb` {}: the rate is a share above 0 and at most 1, such as 0.05", core::printable(text)));
  }
  return result;
}

std::string perturb(std::string_view text, const Perturbation& perturbation, std::uint64_t seed,
                    std::uint64_t document) {
  std::u32string characters = to_characters(text);
  switch (perturbation.kind) {
    case Perturbation::Kind::kTypos:
      characters = typos(characters, {core::RandomStream(seed, "perturb typos"), perturbation.rate, document});
      break;
    case Perturbation::Kind::kCase:
      characters =
          change_case(std::move(characters), {core::RandomStream(seed, "perturb case"), perturbation.rate, document});
      break;
    case Perturbation::Kind::kOcr:
      characters = misread(characters, {core::RandomStream(seed, "perturb ocr"), perturbation.rate, document});
      break;
  }
  std::string result;
  for (const char32_t c : characters) append_character(result, c);
  return result;
}

}  // namespace lowrank::data
