#include "common/checksum.h"

#include <xxhash.h>

namespace skein {

uint64_t Checksum64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

uint64_t Checksum64(std::span<const std::string_view> pieces) {
  if (pieces.size() == 1) return Checksum64(pieces.front());
  RunningChecksum64 checksum;
  for (const std::string_view piece : pieces) checksum.Add(piece);
  return checksum.Value();
}

RunningChecksum64::RunningChecksum64() : state_(XXH3_createState()) {
  XXH3_64bits_reset(static_cast<XXH3_state_t*>(state_));
}

RunningChecksum64::~RunningChecksum64() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }

void RunningChecksum64::Add(std::string_view bytes) {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size());
}

uint64_t RunningChecksum64::Value() const {
  return XXH3_64bits_digest(static_cast<const XXH3_state_t*>(state_));
}

uint64_t ChainHash(uint64_t previous_chain, uint64_t checksum) {
  const uint64_t both[2] = {previous_chain, checksum};
  return XXH3_64bits(both, sizeof(both));
}

}  // namespace skein
