// How much snapshots may cost the node that hands them out (R21).
#pragma once

#include <cstdint>

namespace skein {

struct SnapshotLimits {
  // On their way at the same time; who comes beyond it is refused.
  uint64_t at_once_max = 2;
  // Bytes of one that its receiver has not taken yet. Without a limit of our own the receiver's
  // memory would have to hold what HTTP/2's window allows, and that grows to many times this.
  uint64_t untaken_bytes_max = 8 << 20;
  // Bytes per second of all together; 0: no limit.
  uint64_t bytes_per_second = 0;
  // The same while writes reach the node, if that is less.
  uint64_t bytes_per_second_beside_writes = 32 << 20;
};

}  // namespace skein
