// Checksums of everything that Skein writes to disk, chains together or ships: XXH3, 64 bits.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace skein {

uint64_t Checksum64(std::string_view bytes);
// Of the pieces, as if they were one.
uint64_t Checksum64(std::span<const std::string_view> pieces);

// The same of bytes that come piece by piece.
class RunningChecksum64 {
 public:
  RunningChecksum64();
  ~RunningChecksum64();
  RunningChecksum64(const RunningChecksum64&) = delete;
  RunningChecksum64& operator=(const RunningChecksum64&) = delete;

  void Add(std::string_view bytes);
  // Of all that was added so far.
  uint64_t Value() const;

 private:
  void* const state_;  // the library's
};

// The chain hash of an entry: over its predecessor's chain hash and its own checksum.
uint64_t ChainHash(uint64_t previous_chain, uint64_t checksum);

}  // namespace skein
