// tokenizer.json, and behind a byte of zero a text: what was read makes tokens of it and text of those.
#include "fuzz.h"
#include "lowrank/core/json.h"
#include "lowrank/core/text.h"
#include "lowrank/data/tokenizer/hf_tokenizer.h"

using namespace lowrank::data;

LOWRANK_FUZZ_TARGET(tokenizer) {
  const auto [document, rest] = lowrank_fuzz::two_parts(input);
  const std::string_view text = rest.empty() ? "Hello, w\xC3\xB6rld 123!\n  <s>a a\xE4\xBD\xA0" : rest;
  const lowrank::core::Json json = lowrank::core::parse_json(document, "tokenizer.json");
  const HfTokenizer tokenizer(json, "tokenizer.json", SpecialTokens{});
  for (const bool special : {true, false}) {
    const std::vector<TokenId> ids = tokenizer.encode(text, special);
    for (const TokenId id : ids) {
      if (id < 0 || id >= tokenizer.size()) lowrank_fuzz::broken("an id that there is not: " + std::to_string(id));
      (void)tokenizer.id_to_token(id);
    }
    const std::string decoded = tokenizer.decode(ids, special);
    if (lowrank::core::find_invalid_utf8(decoded) != std::string::npos) lowrank_fuzz::broken("decoded to no UTF-8");
    StreamDecoder stream(tokenizer, special);
    for (const TokenId id : ids) (void)stream.push(id);
    (void)stream.flush();
  }
}
