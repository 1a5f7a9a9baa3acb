#include "lowrank/train/ranks/messages.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace lowrank::train {
namespace {

constexpr std::string_view kMagic = "lowrank1";
constexpr std::size_t kMost = std::size_t{64} << 20;  // bytes of a text: the table of thousands of ranks
constexpr std::string_view kKinds = "htabfse";

struct Head {
  std::array<char, 8> magic;
  std::uint32_t kind, size;
};

}  // namespace

bool send_message(const Socket& socket, const Message& message, Clock::time_point deadline) {
  Head head{};
  std::copy(kMagic.begin(), kMagic.end(), head.magic.begin());
  head.kind = static_cast<std::uint32_t>(message.kind);
  head.size = static_cast<std::uint32_t>(message.text.size());
  std::string bytes(sizeof(head), '\0');
  std::memcpy(bytes.data(), &head, sizeof(head));
  bytes += message.text;
  return send_by(socket, bytes.data(), bytes.size(), deadline);
}

std::optional<Message> receive_message(const Socket& socket, Clock::time_point deadline) {
  Head head{};
  if (!receive_by(socket, &head, sizeof(head), deadline)) return std::nullopt;
  const bool ours = std::equal(kMagic.begin(), kMagic.end(), head.magic.begin()) && head.size <= kMost &&
                    head.kind < 128 && kKinds.find(static_cast<char>(head.kind)) != std::string_view::npos;
  if (!ours) return std::nullopt;
  Message message{static_cast<MessageKind>(head.kind), std::string(head.size, '\0')};
  if (!receive_by(socket, message.text.data(), message.text.size(), deadline)) return std::nullopt;
  return message;
}

}  // namespace lowrank::train
