#include "catch.h"
#include "errors.h"
#include "lowrank/core/error.h"
#include "lowrank/data/chat/find_template.h"

using namespace lowrank;
using data::find_chat_template;
using lowrank_test::contains;
using lowrank_test::message_of;
using lowrank_test::TempDir;
using lowrank_test::write_text;

TEST_CASE("a chat template is found wherever models keep it", "[unit]") {
  const TempDir text, list, files, both, none, typed;
  write_text(text / "tokenizer_config.json", R"({"chat_template": "from the config"})");
  write_text(
      list / "tokenizer_config.json",
      R"({"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "with tools"}]})");
  write_text(files / "chat_template.jinja", "from the file");
  write_text(files / "additional_chat_templates" / "rag.jinja", "for documents");
  write_text(both / "tokenizer_config.json", R"({"chat_template": "from the config"})");
  write_text(both / "chat_template.jinja", "from the file");
  write_text(none / "tokenizer_config.json", R"({"chat_template": null})");

  CHECK(find_chat_template({text.path()}, false)->source() == "from the config");
  CHECK(find_chat_template({list.path()}, false)->source() == "plain");
  CHECK(find_chat_template({list.path()}, true)->source() == "with tools");
  CHECK(find_chat_template({files.path()}, true)->source() == "from the file");
  CHECK(find_chat_template({files.path()}, false, "rag")->source() == "for documents");
  CHECK(find_chat_template({both.path()}, false)->source() == "from the file");
  CHECK_FALSE(find_chat_template({none.path()}, false));
  // As processors write it, after all others.
  const TempDir processor;
  write_text(processor / "chat_template.json", R"({"chat_template": "from the processor"})");
  CHECK(find_chat_template({processor.path()}, false)->source() == "from the processor");
  write_text(processor / "tokenizer_config.json", R"({"chat_template": "from the config"})");
  CHECK(find_chat_template({processor.path()}, false)->source() == "from the config");
  write_text(typed / "chat_template.json", R"({"chat_template": 5})");
  CHECK(contains(message_of<FormatError>([&] { find_chat_template({typed.path()}, false); }), "chat_template.json: chat_template"));
  // The adapter's own folder comes first, where it has a template.
  CHECK(find_chat_template({none.path(), list.path(), text.path()}, false)->source() == "plain");
  CHECK(contains(message_of<ConfigError>([&] { find_chat_template({list.path()}, false, "tool_uses"); }),
                 "no chat template 'tool_uses', did you mean 'tool_use'? (it has: default, tool_use)"));
}

TEST_CASE("a folder whose templates cannot be right is refused with the place", "[unit]") {
  const TempDir broken, typed, several;
  write_text(broken / "chat_template.jinja", "a\n{% if %}");
  write_text(typed / "tokenizer_config.json", R"({"chat_template": 5})");
  write_text(several / "tokenizer_config.json",
             R"({"chat_template": [{"name": "a", "template": "1"}, {"name": "b", "template": "2"}]})");
  CHECK(contains(message_of<FormatError>([&] { find_chat_template({broken.path()}, false); }),
                 "chat_template.jinja line 2: "));
  CHECK(contains(message_of<FormatError>([&] { find_chat_template({typed.path()}, false); }),
                 "tokenizer_config.json: chat_template"));
  CHECK(contains(message_of<MissingError>([&] { find_chat_template({several.path()}, false); }),
                 "none is the default; choose one of: a, b"));
  CHECK_THROWS_AS(data::load_chat_template(broken / "no.jinja"), MissingError);
}
