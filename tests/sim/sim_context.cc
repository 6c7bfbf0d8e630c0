#include "tests/sim/sim_context.h"

#include <algorithm>
#include <cmath>

namespace skein::sim {

uint64_t Exponential(Random* random, uint64_t mean_us) {
  const double uniform = static_cast<double>(random->Between(1, 1 << 20)) / (1 << 20);
  const double drawn = -std::log(uniform) * static_cast<double>(mean_us);
  return static_cast<uint64_t>(std::min(drawn, 10.0 * static_cast<double>(mean_us)));
}

std::string NodeName(size_t node) { return "n" + std::to_string(node + 1); }

}  // namespace skein::sim
