// How much snapshots may cost the node that hands them out (R21).
#pragma once

#include <algorithm>
#include <cstdint>

namespace skein {

struct SnapshotLimits {
  // On their way at the same time; who comes beyond it is refused.
  uint64_t at_once_max = 2;
  // Bytes per second of all together; 0: no limit.
  uint64_t bytes_per_second = 0;

  // What is sent in one piece: several a second, so that the receiver can tell how it gets on.
  uint64_t PartBytes() const {
    constexpr uint64_t kMax = 256 << 10;
    constexpr uint64_t kMin = 4 << 10;
    return bytes_per_second == 0 ? kMax : std::clamp(bytes_per_second / 8, kMin, kMax);
  }
};

}  // namespace skein
