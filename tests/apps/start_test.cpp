// How the command starts: what it answers by the table of verbs alone, and the module that it loads for the rest.
#include <filesystem>

#include "lowrank/apps/console/completion.h"
#include "lowrank/apps/console/help.h"
#include "lowrank/apps/console/verb_table.h"
#include "lowrank/apps/verbs.h"
#include "lowrank/apps/verbs_module.h"
#include "verbs_helpers.h"

using namespace lowrank_test;
namespace apps = lowrank::apps;

TEST_CASE("the table of verbs keeps all that help, completion and the manual page show", "[unit]") {
  const Json written = lowrank::core::parse_json(apps::to_json(apps::verbs()).dump(2), "verbs.json");
  const std::vector<apps::Verb> read = apps::verbs_from_json({written, "verbs.json"});
  REQUIRE(read.size() == apps::verbs().size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    CHECK(apps::help_text(read[i], true, 120) == apps::help_text(apps::verbs()[i], true, 120));
    CHECK(apps::help_text(read[i], false, 80) == apps::help_text(apps::verbs()[i], false, 80));
  }
  for (const char* shell : {"bash", "zsh", "fish"})
    CHECK(apps::completion_script(shell, read) == apps::completion_script(shell, apps::verbs()));
  CHECK(apps::manual_page(read, "1") == apps::manual_page(apps::verbs(), "1"));
  Json other = written;
  other["version"] = "0.0.1";
  CHECK(apps::verbs_from_json({other, "verbs.json"}).empty());
  other = written;
  other["verbs"][0]["options"][0]["type"] = "colour";
  CHECK_THROWS_AS(apps::verbs_from_json({other, "verbs.json"}), lowrank::FormatError);
}

TEST_CASE("help, the version, completion and mistakes in names are answered without LibTorch", "[e2e]") {
  const auto traced = [](const std::vector<std::string>& words) { return run(words, {{"LD_DEBUG", "libs"}}); };
  const std::vector<std::pair<std::vector<std::string>, int>> cases = {
      {{}, 2},
      {{"--help"}, 0},
      {{"--version"}, 0},
      {{"help", "finetune"}, 0},
      {{"finetune", "--help", "all"}, 0},
      {{"align", "--help"}, 0},
      {{"align", "dpo", "-h"}, 0},
      {{"completion", "zsh"}, 0},
      {{"man"}, 0},
      {{"completion", "tcsh"}, 2},
      {{"finetun"}, 2},
      {{"align"}, 2},
      {{"finetune", "x", "--lora_r", "8"}, 2},
      {{"finetune", "x", "--no-such", "--json"}, 2},
  };
  for (const auto& [words, exit] : cases) {
    CAPTURE(words);
    const CommandResult result = traced(words);
    CHECK(result.exit == exit);
    CHECK(!contains(result.err, "libtorch"));
    CHECK(contains(result.err, "lowrank: error: ") == (exit == 2 && !words.empty()));
  }
  CHECK(contains(traced({"finetune", "x", "--lora_r", "8"}).err, "--lora_r (here: --rank)"));
  const std::string all = run({"finetune", "--help", "all"}).out;
  CHECK(contains(all, "(auto, text, completion"));
  CHECK(!contains(all, "(auto)"));  // a word beside a number is no list of choices
  CHECK(lowrank::core::parse_json(run({"finetune", "x", "--no-such", "--json"}).out, "stdout")["exit"] == 2);
  CHECK(contains(traced({"runs", "/nonexistent"}).err, "libtorch"));  // it would have been seen
}

TEST_CASE("the program and the module of its verbs go together, and the table may be missing", "[e2e]") {
  TempDir dir;
  const fs::path module = command().parent_path().parent_path() / "lib" / "lowrank" / apps::kVerbsModule;
  REQUIRE(fs::exists(module));
  fs::create_directories(dir / "bin");
  fs::create_directories(dir / "lib" / "lowrank");
  fs::copy_file(command(), dir / "bin" / "lowrank");
  const auto moved = [&](const std::vector<std::string>& words) {
    return Command(words, {}, "", (dir / "bin" / "lowrank").string()).wait();
  };
  const CommandResult help = run({"--help"});
  CHECK(moved({"--help"}).out == help.out);  // by the tree that it was built in
  CHECK(moved({"runs", dir.path().string()}).exit == run({"runs", dir.path().string()}).exit);
  write_text(dir / "lib" / "lowrank" / apps::kVerbsModule, "no module");
  const CommandResult broken = moved({"--help"});
  CHECK(broken.exit == 74);
  CHECK(contains(broken.err, "cannot be loaded"));
  CHECK(contains(broken.err, (dir / "lib" / "lowrank" / apps::kVerbsModule).string()));
  fs::remove(dir / "lib" / "lowrank" / apps::kVerbsModule);
  fs::create_symlink(module, dir / "lib" / "lowrank" / apps::kVerbsModule);
  CHECK(moved({"--help"}).out == help.out);
  write_text(dir / "lib" / "lowrank" / apps::kVerbTable, "{\"version\": ");  // cut short
  CHECK(moved({"--help"}).out == help.out);
  CHECK(moved({"finetune", "x", "--lora_r", "8"}).err == run({"finetune", "x", "--lora_r", "8"}).err);
  // A link to the program finds what lies beside the program.
  fs::create_symlink(command(), dir / "linked");
  const std::string linked = (dir / "linked").string();
  CHECK(Command({"--help", "--json"}, {}, "", linked).wait().out == run({"--help", "--json"}).out);
}
