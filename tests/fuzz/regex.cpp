// A regular expression as tokenizer.json has it, and behind a byte of zero the text that is searched.
#include "fuzz.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/onig_regex.h"

using namespace lowrank::data;

LOWRANK_FUZZ_TARGET(regex) {
  const auto [pattern, rest] = lowrank_fuzz::two_parts(input);
  const std::string text = lowrank::core::replace_invalid_utf8(rest.empty() ? "It's 12 o'clock,\r\n \xC3\x84rger" : rest);
  const OnigRegex regex(pattern, "pattern");
  std::vector<ByteRange> matches;
  regex.find_all(text, {0, text.size()}, matches);
  std::size_t end = 0;
  for (const ByteRange& match : matches) {
    if (match.begin < end || match.end <= match.begin || match.end > text.size()) {
      lowrank_fuzz::broken("a match that is empty, overlaps another or leaves the text");
    }
    end = match.end;
  }
}
