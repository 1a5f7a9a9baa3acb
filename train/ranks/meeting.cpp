#include "lowrank/train/ranks/meeting.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <thread>

#include "lowrank/core/error.h"
#include "lowrank/core/json_text.h"
#include "lowrank/core/text.h"
#include "lowrank/train/ranks/agent_store.h"
#include "lowrank/train/ranks/messages.h"

namespace lowrank::train {
namespace {

using core::Json;

constexpr double kHello = 5;  // seconds that who has connected has to say who it is
constexpr double kTryAgain = 0.2, kOneAddress = 2;

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// What a rank says when it comes: itself, and of which start it is.
std::string hello_text(const Launch& launch, const Peer& own) {
  return core::json_text(Json{{"job", launch.job}, {"ranks", launch.ranks}, {"peer", to_json(own)}});
}

struct Hello {
  std::string job;
  int ranks;
  Peer peer;
};

/// Nothing where what came is not of a rank.
std::optional<Hello> read_hello(const Socket& socket) {
  const std::optional<Message> message = receive_message(socket, after(kHello));
  if (!message || message->kind != MessageKind::kHello) return std::nullopt;
  try {
    const Json json = core::parse_json(message->text, "a rank's hello");
    const core::JsonView view(json, "a rank's hello");
    return Hello{view.at("job").as_string(), static_cast<int>(view.at("ranks").as_int(1, 1 << 20)),
                 peer_from_json(view.at("peer"))};
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::string missing(const std::vector<Peer>& peers, int first, double seconds) {
  std::string list;
  int count = 0;
  for (std::size_t r = 1; r < peers.size(); ++r) {
    if (peers[r].pid != 0) continue;
    if (++count <= 8) list += (list.empty() ? "" : ", ") + std::to_string(static_cast<std::size_t>(first) + r);
  }
  return fmt::format("{} {}{} of {}{} did not come within {:.0f} s", count == 1 ? "rank" : "ranks", list,
                     count > 8 ? ", ..." : "", peers.size(), first == 0 ? "" : fmt::format(" from {} on", first), seconds);
}

/// What is wrong with one that came, for all to be told; empty: nothing.
std::string objection(const Launch& launch, const std::vector<Peer>& peers, const Hello& hello) {
  const Peer& peer = hello.peer;
  if (hello.ranks != launch.ranks)
    return fmt::format("{} was told of {} ranks and rank 0 of {}: start all with the same number", peer.name(),
                       hello.ranks, launch.ranks);
  if (peer.rank < 1 || peer.rank >= launch.ranks || peers[static_cast<std::size_t>(peer.rank)].pid != 0)
    return fmt::format("{} says that it is a rank that is there already: give each process a rank of its own",
                       peer.name());
  if (peer.program != peers[0].program)
    return fmt::format("{} runs another lowrank than rank 0 (SHA-256 {}... instead of {}...): install the same on all "
                       "machines",
                       peer.name(), peer.program.substr(0, 12), peers[0].program.substr(0, 12));
  return "";
}

void meet_as_first(const Launch& launch, const Place& place, Peer own, const Socket& listening, double seconds,
                   Clock::time_point deadline, Met& met) {
  met.peers[0] = own;
  place.publish(launch.host + ":" + std::to_string(port_of(listening)));
  std::string problem;
  for (int there = 1; there < launch.ranks && problem.empty();) {
    Socket socket = accept_by(listening, deadline);
    if (!socket) {
      problem = missing(met.peers, launch.first, seconds);
      break;
    }
    std::optional<Hello> hello = read_hello(socket);
    if (!hello || hello->job != launch.job) continue;  // no rank, or one of an earlier start
    problem = objection(launch, met.peers, *hello);
    if (!problem.empty()) {
      send_message(socket, {MessageKind::kStop, problem}, after(kHello));
      break;
    }
    const std::string address = peer_address(socket);
    hello->peer.address = is_loopback(address) ? "" : address;
    const auto rank = static_cast<std::size_t>(hello->peer.rank);
    met.peers[rank] = std::move(hello->peer);
    met.control[rank] = std::move(socket);
    ++there;
  }
  Json table = Json::array();
  for (const Peer& peer : met.peers) table.push_back(to_json(peer));
  const Message message =
      problem.empty() ? Message{MessageKind::kTable, core::json_text(table)} : Message{MessageKind::kStop, problem};
  for (const Socket& socket : met.control)
    if (socket) send_message(socket, message, after(kHello));
  if (problem.find("did not come") != std::string::npos) throw RankLost(problem);
  if (!problem.empty()) throw ConfigError(problem);
}

void meet_as_other(const Launch& launch, const Place& place, const Peer& own, double seconds,
                   Clock::time_point deadline, Met& met) {
  const std::string address = place.fetch(deadline);
  const std::size_t colon = address.rfind(':');
  const std::vector<std::string> hosts = split(address.substr(0, colon));
  int port = 0;
  std::from_chars(address.data() + colon + 1, address.data() + address.size(), port);
  std::string why = "no answer";
  std::optional<Message> answer;
  for (std::size_t tried = 0; !answer && Clock::now() < deadline; ++tried) {
    if (tried > 0) std::this_thread::sleep_for(Seconds(kTryAgain));
    // Of several addresses each has a short while; a single one all the time there is.
    const Clock::time_point until = hosts.size() == 1 ? deadline : std::min(deadline, after(kOneAddress));
    Socket socket = connect_by(hosts[tried % hosts.size()], port, until, why);
    if (!socket) continue;
    give_up_after(socket, std::max(seconds, 60.0));
    if (send_message(socket, {MessageKind::kHello, hello_text(launch, own)}, after(kHello)))
      answer = receive_message(socket, deadline);
    if (answer) met.control[0] = std::move(socket);
    why = "what listens there is no rank 0 of this start";
  }
  if (!answer)
    throw RankLost(fmt::format("rank {} could not be met at {} within {:.0f} s: {}", launch.first, address, seconds, why));
  if (answer->kind != MessageKind::kTable) throw ConfigError(answer->text);
  const Json json = core::parse_json(answer->text, "rank 0's table of ranks");
  const core::JsonView table(json, "rank 0's table of ranks");
  for (std::size_t r = 0; r < table.size() && r < met.peers.size(); ++r) met.peers[r] = peer_from_json(table.at(r));
  // Who is on rank 0's machine, and rank 0 itself, are where this rank has reached rank 0.
  for (Peer& peer : met.peers)
    if (peer.address.empty()) peer.address = peer_address(met.control[0]);
}

struct Tag {
  std::array<char, 8> magic{'l', 'o', 'w', 'r', 'd', 'a', 't', 'a'};
  std::uint32_t rank = 0, port = 0;  // port: of the one that is meant, which tells starts apart
};

/// Each rank connects to those before it.
void connect_all(const Launch& launch, const Socket& listening, Clock::time_point deadline, Met& met) {
  met.data.resize(static_cast<std::size_t>(launch.ranks));
  for (int r = 0; r < launch.rank; ++r) {
    const Peer& peer = met.peers[static_cast<std::size_t>(r)];
    std::string why;
    Socket socket = connect_by(peer.address, peer.port, deadline, why);
    Tag tag;
    tag.rank = static_cast<std::uint32_t>(launch.rank);
    tag.port = static_cast<std::uint32_t>(peer.port);
    if (!socket || !send_by(socket, &tag, sizeof(tag), deadline)) {
      throw RankLost(fmt::format("{} cannot be reached at {} port {}: {}; ranks connect to each other on ports of the "
                                 "kernel's choice, which a firewall must let through",
                                 peer.name(), peer.address, peer.port, why));
    }
    met.data[static_cast<std::size_t>(r)] = std::move(socket);
  }
  for (int left = launch.ranks - 1 - launch.rank; left > 0;) {
    Socket socket = accept_by(listening, deadline);
    if (!socket) throw RankLost(fmt::format("{} ranks have not connected in time", left));
    Tag tag, expected;
    const bool ours = receive_by(socket, &tag, sizeof(tag), after(kHello)) && tag.magic == expected.magic &&
                      tag.port == static_cast<std::uint32_t>(port_of(listening)) &&
                      tag.rank > static_cast<std::uint32_t>(launch.rank) && tag.rank < met.data.size() &&
                      !met.data[tag.rank];
    if (!ours) continue;
    met.data[tag.rank] = std::move(socket);
    --left;
  }
}

}  // namespace

Met meet(const Launch& launch, const Place& place, bool data, double seconds, double timeout) {
  const Clock::time_point deadline = after(seconds);
  Met met;
  met.peers.resize(static_cast<std::size_t>(launch.ranks));
  met.control.resize(launch.rank == 0 ? met.peers.size() : 1);
  Peer own = this_process(launch.rank);
  own.first = launch.first;
  const Socket listening = listen_on(launch.rank == 0 ? place.port : 0);
  own.port = port_of(listening);
  if (launch.rank == 0) {
    meet_as_first(launch, place, own, listening, seconds, deadline, met);
  } else {
    meet_as_other(launch, place, own, seconds, deadline, met);
  }
  if (data) {
    connect_all(launch, listening, deadline, met);
    for (const Socket& socket : met.data)
      if (socket) give_up_after(socket, timeout);
  }
  return met;
}

Place place_of(const Launch& launch) {
  if (!launch.agent_store) {
    const std::string address = launch.host + ":" + std::to_string(launch.port);
    return {launch.port, [](const std::string&) {}, [address](Clock::time_point) { return address; }};
  }
  const std::string key = "lowrank/" + launch.job + "/rank 0";
  const auto publish = [launch, key](const std::string& address) {
    const int port = std::stoi(address.substr(address.rfind(':') + 1));
    std::string why, host = launch.host;
    // Rank 0 need not be on the machine of the store: others reach it by the address that it reaches the store with.
    const Clock::time_point deadline = after(60);
    if (const Socket socket = connect_by(launch.host, launch.port, deadline, why)) {
      const std::string own = own_address(socket);
      if (!is_loopback(own)) host = own;
    }
    set_in_store(launch.host, launch.port, key, host + ":" + std::to_string(port), deadline);
  };
  const auto fetch = [launch, key](Clock::time_point deadline) {
    return get_from_store(launch.host, launch.port, key, deadline);
  };
  return {0, publish, fetch};
}

}  // namespace lowrank::train
