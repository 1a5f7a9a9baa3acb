// A reward program of the user's, spoken to by JSON lines.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "lowrank/train/reward.h"

namespace lowrank::train {

/// `/bin/sh -c COMMAND`, started at the first answer and kept. For each answer it reads one line
/// {"id": N, "prompt": "…", "response": "…"} (and "answer" where the row has one) and writes one line {"score": X},
/// with "id": N if it likes; its stderr is the user's. DataError naming the answer's row where it has ended, reads or
/// says nothing within the time limit, says anything but a finite score, gives another id, or writes a line that nobody
/// asked for. Of the environment it gets PATH, HOME, LANG, TMPDIR and what `environment` names: no keys or tokens.
/// The program and what it started in its process group are always ended and reaped, by a watching shell even where
/// this process is killed.
class RewardProgram {
 public:
  RewardProgram(std::string command, double timeout_seconds, std::vector<std::string> environment = {});
  ~RewardProgram();
  RewardProgram(const RewardProgram&) = delete;
  RewardProgram& operator=(const RewardProgram&) = delete;

  double score(const Answer& answer);

 private:
  void start();
  void stop();
  void check_silence(const Answer& answer);
  void send(const std::string& line, const Answer& answer);
  std::string receive(const Answer& answer);
  [[noreturn]] void fail(const Answer& answer, const std::string& problem);

  std::string command_, received_;
  double timeout_;
  std::vector<std::string> environment_;
  std::int64_t asked_ = 0;  // the last request's id
  int socket_ = -1;
  int lifeline_ = -1;  // the watcher ends the program when this is closed
  pid_t child_ = -1, watcher_ = -1;
};

}  // namespace lowrank::train
