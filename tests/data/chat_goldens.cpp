// Templates against what transformers renders of them (tests/parity/make_chat_goldens.py).
#include "catch.h"
#include "lowrank/core/error.h"
#include "lowrank/core/files.h"
#include "lowrank/core/json.h"
#include "lowrank/data/chat/chat_template.h"
#include "lowrank/data/chat/messages.h"

using namespace lowrank;
using core::Json;
using lowrank_test::golden_dir;

namespace {

const Json& golden() {
  static const Json json = core::read_json(golden_dir() / "data" / "chat.json");
  return json;
}

data::ChatDate golden_date() {
  const auto d = golden().at("date").get<std::vector<int>>();
  return {d[0], d[1], d[2], d[3], d[4], d[5]};
}

}  // namespace

TEST_CASE("templates give the text and the marked stretches that transformers gives", "[unit][parity]") {
  Json variables = golden().at("variables");
  variables["messages"] = data::chat_messages(variables["messages"]);
  std::size_t rendered = 0, refused = 0;
  for (const Json& c : golden().at("cases")) {
    const auto source = c.at("template").get<std::string>();
    CAPTURE(source);
    if (c.contains("refused")) {
      ++refused;
      CHECK_THROWS_AS(data::ChatTemplate::compile(source, "t").render(variables, golden_date()), Error);
      continue;
    }
    ++rendered;
    const data::Rendering out = data::ChatTemplate::compile(source, "t").render(variables, golden_date());
    CHECK(out.text == c.at("text").get<std::string>());
    std::vector<data::ChatSpan> spans;
    for (const Json& s : c.value("spans", Json::array()))
      spans.push_back({s[0].get<std::size_t>(), s[1].get<std::size_t>()});
    CHECK(out.generated == spans);
  }
  CHECK(rendered > 100);
  CHECK(refused > 100);
}

TEST_CASE("published templates render every conversation of the grid as transformers does", "[unit][parity]") {
  const auto assets = lowrank_test::assets();
  if (!assets) LOWRANK_SKIP("LOWRANK_ASSETS is unset");
  std::size_t compared = 0;
  for (const auto& [name, cells] : golden().at("published").items()) {
    CAPTURE(name);
    const auto chat_template = data::ChatTemplate::compile(core::read_file(*assets / "chat-templates" / name), name);
    std::size_t cell = 0;
    for (const Json& turns : golden().at("conversations")) {
      for (const Json& setting : golden().at("settings")) {
        Json variables = {{"tools", nullptr}, {"documents", nullptr}, {"add_generation_prompt", false}};
        variables.update(setting);
        variables["messages"] = data::chat_messages(turns);
        const Json& expected = cells.at(cell++);
        std::string hash;
        try {
          hash = core::sha256(chat_template.render(variables, golden_date()).text).substr(0, 16);
        } catch (const DataError&) {
        }
        CAPTURE(turns.dump(), setting.dump());
        CHECK(hash == (expected.is_null() ? "" : expected.get<std::string>()));
        ++compared;
      }
    }
    CHECK(cell == cells.size());
  }
  CHECK(compared >= 7 * 100);
}
