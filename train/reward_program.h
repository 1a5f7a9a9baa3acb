// A reward program of the user's, spoken to by JSON lines.
#pragma once

#include <sys/types.h>

#include <string>

#include "lowrank/train/reward.h"

namespace lowrank::train {

/// `/bin/sh -c COMMAND`, started at the first answer and kept. For each answer it reads one line
/// {"prompt": "…", "response": "…"} (and "answer" where the row has one) and writes one line {"score": X}; its stderr
/// is the user's. DataError naming the answer's row where it has ended, says nothing within the time limit, or says
/// anything but a finite score. The program and what it started in its process group are always ended and reaped.
class RewardProgram {
 public:
  RewardProgram(std::string command, double timeout_seconds);
  ~RewardProgram();
  RewardProgram(const RewardProgram&) = delete;
  RewardProgram& operator=(const RewardProgram&) = delete;

  double score(const Answer& answer);

 private:
  void start();
  void stop();
  void send(const std::string& line, const Answer& answer);
  std::string receive(const Answer& answer);
  [[noreturn]] void fail(const Answer& answer, const std::string& problem);

  std::string command_, received_;
  double timeout_;
  int socket_ = -1;
  pid_t child_ = -1;
};

}  // namespace lowrank::train
