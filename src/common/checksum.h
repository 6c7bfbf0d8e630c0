// Checksums of everything that Skein writes to disk or chains together: XXH3, 64 bits.
#pragma once

#include <cstdint>
#include <string_view>

namespace skein {

uint64_t Checksum64(std::string_view bytes);

// The chain hash of an entry: over its predecessor's chain hash and its own checksum.
uint64_t ChainHash(uint64_t previous_chain, uint64_t checksum);

}  // namespace skein
