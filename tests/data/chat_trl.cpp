// Conversations as TRL's SFTTrainer prepares them: token ids and masks (tests/parity/make_chat_trl_goldens.py; live for whole
// data sets in chat_trl_parity.py).
#include <string>

#include "catch.h"
#include "errors.h"
#include "lowrank/core/json.h"
#include "lowrank/data/chat/chat_layout.h"
#include "lowrank/data/dataset.h"

using namespace lowrank;
using namespace lowrank_test;

TEST_CASE("ids and masks of conversations are SFTTrainer's", "[parity]") {
  const core::Json golden = core::read_json(golden_dir() / "data" / "chat_trl.json");
  for (const std::string name : {"llama3", "qwen2_5", "qwen2_5_tools"}) {
    CAPTURE(name);
    const core::Json& of = golden[name];
    TempDir dir;
    for (const auto& [file, content] : of["files"].items()) write_text(dir / file, content.dump());
    write_text(dir / "chat_template.jinja", of["template"].get<std::string>());
    std::string rows;
    for (const core::Json& row : of["rows"]) rows += row.dump() + "\n";
    write_text(dir / "rows.jsonl", rows);
    const auto tokenizer = data::Tokenizer::load(dir.path());
    data::DataOptions options;
    options.seq_len = golden["seq_len"].get<int>();
    options.chat = data::find_chat_layout(*tokenizer, {dir.path()});
    const data::Dataset all = data::load({dir / "rows.jsonl"}, *tokenizer, options);
    REQUIRE(all.examples.size() == of["expected"].size());
    for (std::size_t i = 0; i < all.examples.size(); ++i) {
      CAPTURE(i);
      std::vector<std::uint8_t> learned = all.examples[i].learned;
      learned.front() = 0;  // a first token is not predicted
      CHECK(all.examples[i].ids == of["expected"][i]["ids"].get<std::vector<data::TokenId>>());
      CHECK(learned == of["expected"][i]["learned"].get<std::vector<std::uint8_t>>());
    }
  }
}
