#include "common/checksum.h"

#include <xxhash.h>

namespace skein {

uint64_t Checksum64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

uint64_t ChainHash(uint64_t previous_chain, uint64_t checksum) {
  const uint64_t both[2] = {previous_chain, checksum};
  return XXH3_64bits(both, sizeof(both));
}

}  // namespace skein
