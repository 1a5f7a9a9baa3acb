// The store that torchrun's agents keep for their workers, in LibTorch's own protocol.
#pragma once

#include <string>

#include "lowrank/train/ranks/sockets.h"

namespace lowrank::train {

/// IoError where there is no such store at host:port by the deadline, or nothing by this key in it.
void set_in_store(const std::string& host, int port, const std::string& key, const std::string& value,
                  Clock::time_point deadline);
std::string get_from_store(const std::string& host, int port, const std::string& key, Clock::time_point deadline);

}  // namespace lowrank::train
