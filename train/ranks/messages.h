// Messages on the control connections between rank 0 and the others: a kind, and a text.
#pragma once

#include <optional>
#include <string>

#include "lowrank/train/ranks/sockets.h"

namespace lowrank::train {

enum class MessageKind : char {
  kHello = 'h',  // a rank presents itself: its Peer
  kTable = 't',  // rank 0: all peers
  kAddress = 'a',
  kBeat = 'b',    // a sign of life
  kFailed = 'f',  // a rank stops with an error: its kind as a digit, and its message
  kStop = 's',    // rank 0's verdict, for all: the same
  kBye = 'e',     // a rank has done its work
};

struct Message {
  MessageKind kind;
  std::string text;
};

bool send_message(const Socket& socket, const Message& message, Clock::time_point deadline);
/// Nothing where the connection ended, or what came is no message of ours.
std::optional<Message> receive_message(const Socket& socket, Clock::time_point deadline);

}  // namespace lowrank::train
