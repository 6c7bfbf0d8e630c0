// What a quorum of voters has reached.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "common/check.h"

namespace skein {

// The largest value that more than half of the voters have reached; one value for each voter.
inline uint64_t QuorumValue(std::vector<uint64_t> values) {
  SKEIN_CHECK(!values.empty());
  const size_t quorum = values.size() / 2 + 1;
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(quorum) - 1,
                   values.end(), std::greater<>());
  return values[quorum - 1];
}

}  // namespace skein
