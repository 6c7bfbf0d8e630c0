#include "common/checksum.h"

#include <xxhash.h>

namespace skein {

uint64_t Checksum64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

uint64_t Checksum64(std::span<const std::string_view> pieces) {
  if (pieces.size() == 1) return Checksum64(pieces.front());
  XXH3_state_t* const state = XXH3_createState();
  XXH3_64bits_reset(state);
  for (const std::string_view piece : pieces) {
    XXH3_64bits_update(state, piece.data(), piece.size());
  }
  const uint64_t checksum = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return checksum;
}

uint64_t ChainHash(uint64_t previous_chain, uint64_t checksum) {
  const uint64_t both[2] = {previous_chain, checksum};
  return XXH3_64bits(both, sizeof(both));
}

}  // namespace skein
