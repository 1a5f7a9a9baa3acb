// chat through pipes, and the table of runs.
#include <csignal>

#include "verbs_helpers.h"

using namespace lowrank_test;

namespace {

void write_run(const fs::path& directory, int rank, bool finished) {
  Json run = {{"lowrank", "0.1.0"},
              {"finished", finished},
              {"verb", "finetune"},
              {"options", {{"rank", rank}, {"lr", 0.001}, {"out", directory.string()}}},
              {"totals",
               {{"trainable_parameters", 1000 * rank},
                {"adapter_bytes", 4096 * rank},
                {"steps", finished ? 40 : 0},
                {"planned_steps", 40},
                {"seconds", 61.0}}}};
  if (finished) {
    run["result"] = {{"stop", "finished"},
                     {"best_step", 30},
                     {"best_loss", 2.0},
                     {"before", {{{"split", "validation"}, {"loss", 3.0}}, {{"split", "general"}, {"loss", 1.0}}}},
                     {"after", {{{"split", "validation"}, {"loss", 2.0}}, {{"split", "general"}, {"loss", 1.5}}}}};
  }
  write_text(directory / "run.json", run.dump(2));
}

}  // namespace

TEST_CASE("chat answers every line that is piped in, and its commands work", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  const std::vector<std::string> chat = {"chat", stories(), "--max-new-tokens", "12"};
  const CommandResult one = run(chat, {}, "Once upon a time\n");
  CAPTURE(one.err, one.out);
  CHECK(one.exit == 0);
  CHECK(one.out.size() > 5);
  CHECK_FALSE(contains(one.out, "> "));
  CHECK_FALSE(contains(one.out, "\033["));
  // The same question after /reset has the same answer; without it, the first turn is remembered.
  CHECK(run(chat, {}, "Once upon a time\n/reset\nOnce upon a time\n").out == one.out + "(forgotten)\n" + one.out);
  CHECK(run(chat, {}, "Once upon a time\nOnce upon a time\n").out != one.out + one.out);
  CHECK(run(chat, {}, "/exit\nOnce upon a time\n").out.empty());
  CHECK(contains(run(chat, {}, "/help\n").out, "/reset"));
  CHECK(contains(run(chat, {}, "/rest\n").err, "/reset"));
  CHECK(run(chat, {}, "").exit == 0);
}

TEST_CASE("chat forgets the oldest turns when the positions run out, and says so", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  std::string talk;
  for (int i = 0; i < 12; ++i)
    talk += "Once upon a time there was a little girl who loved to play outside in the big park.\n";
  const CommandResult result = run({"chat", stories(), "--max-new-tokens", "24"}, {}, talk);
  CAPTURE(result.err);
  CHECK(result.exit == 0);
  CHECK(contains(result.err, "oldest turn"));
  std::string long_line;
  for (int i = 0; i < 400; ++i) long_line += "a big park ";
  CHECK(contains(run({"chat", stories()}, {}, long_line + "\n").err, "say it shorter"));
}

TEST_CASE("Ctrl-C stops an answer and the chat goes on", "[e2e]") {
  if (!assets()) LOWRANK_SKIP("LOWRANK_ASSETS is not set");
  Command chat({"chat", stories(), "--max-new-tokens", "400", "--ignore-eos", "--temperature", "1"}, {},
               "Tell me a story\n/help\n");
  REQUIRE(chat.wait_for(" "));
  chat.signal(SIGINT);
  const CommandResult result = chat.wait();
  CAPTURE(result.out, result.err);
  CHECK(result.exit == 0);
  CHECK(contains(result.out, "/reset         forget"));
}

TEST_CASE("runs shows what differs between runs and where they stand", "[unit]") {
  TempDir dir;
  write_run(dir / "a", 8, true);
  write_run(dir / "nested" / "b", 16, false);
  write_text(
      dir / "nested" / "b" / "metrics.jsonl",
      "{\"step\": 0, \"eval_loss\": 3.0, \"split\": \"validation\", \"tokens\": 9}\n{\"step\": 1, \"loss\": 3.1}\n"
      "{\"step\": 2, \"loss\": 2.9}\n{\"step\": 2, \"eval_loss\": 2.5, \"split\": \"validation\", \"tokens\": "
      "9}\n{\"step\": 3, \"lo");
  const Json runs = run_json({"runs", dir.path().string()})["runs"];
  REQUIRE(runs.size() == 2);
  CHECK(runs[0]["state"] == "finished");
  CHECK(runs[0]["differing_options"] == Json({{"rank", 8}}));
  CHECK(runs[0]["best_loss"] == 2.0);
  CHECK(runs[0]["sets"]["general"]["loss_after"] == 1.5);
  CHECK(runs[0]["trainable_parameters"] == 8000);
  CHECK(runs[1]["finished"] == false);
  CHECK(runs[1]["state"] == "interrupted at step 2");
  CHECK(runs[1]["best_loss"] == 2.5);
  CHECK(runs[1]["steps"] == 2);
  const CommandResult table = run({"runs", dir.path().string()});
  CHECK(table.exit == 0);
  CHECK(contains(table.out, "rank"));
  CHECK_FALSE(contains(table.out, "lr"));
  CHECK(contains(table.out, "nested/b"));
  CHECK(contains(table.out, "20.09 → 7.39"));
  CHECK(contains(table.out, "2 of 40"));

  // A run that cannot be read does not hide the others.
  write_text(dir / "c" / "run.json", "{");
  const CommandResult broken = run({"runs", dir.path().string()});
  CHECK(broken.exit == 0);
  CHECK(contains(broken.err, "run.json"));
  CHECK(contains(broken.out, "not readable"));
  CHECK(run_json({"runs", (dir / "a").string()})["runs"].size() == 1);
}
