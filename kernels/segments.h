// A batch is a flat stream of tokens [T] made of segments (sequences); there is no padding.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace lowrank::kernels {

struct DeviceOffsets;

/// Boundaries of the segments in the query stream and in the key stream, n + 1 offsets each. In training both are the
/// same; when decoding, a segment has one query against its cached keys. Queries are aligned with the last keys of
/// their segment: query i of a segment with q queries and k keys has position k - q + i.
struct Segments {
  std::vector<std::int64_t> q_offsets;
  std::vector<std::int64_t> k_offsets;

  static Segments of_lengths(const std::vector<std::int64_t>& lengths);
  std::int64_t count() const { return static_cast<std::int64_t>(q_offsets.size()) - 1; }
  std::int64_t q_length(std::int64_t s) const { return q_offsets[s + 1] - q_offsets[s]; }
  std::int64_t k_length(std::int64_t s) const { return k_offsets[s + 1] - k_offsets[s]; }
  std::int64_t tokens() const { return q_offsets.back(); }
  /// Position of every query token, [T].
  std::vector<std::int64_t> positions() const;

  /// The offsets on a device, for all layers of a pass (kernels/on_device.cpp).
  mutable std::shared_ptr<const DeviceOffsets> on_device = nullptr;
};

}  // namespace lowrank::kernels
