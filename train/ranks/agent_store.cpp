#include "lowrank/train/ranks/agent_store.h"

#include <c10/util/Exception.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>

#include "lowrank/core/error.h"

namespace lowrank::train {
namespace {

template <typename Work>
auto with_store(const std::string& host, int port, Clock::time_point deadline, const Work& work) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(port);
  options.isServer = false;
  options.waitWorkers = false;
  options.timeout = std::max(std::chrono::milliseconds(1000),
                             std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()));
  try {
    c10d::TCPStore store(host, options);
    store.setTimeout(options.timeout);
    return work(store);
  } catch (const c10::Error& error) {
    const std::string what = error.what_without_backtrace();
    throw IoError("the store of torchrun's agent at " + host + ":" + std::to_string(port) +
                  " did not answer: " + what.substr(0, what.find('\n')));
  }
}

}  // namespace

void set_in_store(const std::string& host, int port, const std::string& key, const std::string& value,
                  Clock::time_point deadline) {
  with_store(host, port, deadline, [&](c10d::TCPStore& store) { store.set(key, {value.begin(), value.end()}); });
}

std::string get_from_store(const std::string& host, int port, const std::string& key, Clock::time_point deadline) {
  return with_store(host, port, deadline, [&](c10d::TCPStore& store) {
    const std::vector<std::uint8_t> value = store.get(key);
    return std::string(value.begin(), value.end());
  });
}

}  // namespace lowrank::train
