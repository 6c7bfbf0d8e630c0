// Faults of a disk that need no file system of their own: what a loss of power leaves, and damage
// to files at rest.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/check.h"

namespace skein {

// What a file keeps of its unsynced end: first so many sound bytes, then so many of garbage, as far
// as it was written.
struct TornTail {
  uint64_t sound_bytes = 0;
  uint64_t garbage_bytes = 0;
};

// Changes one bit of the byte at `offset`, in place.
inline void FlipBit(const std::string& path, uint64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(static_cast<std::streamoff>(offset));
  const int byte = file.get();
  SKEIN_CHECK(file.good());
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(static_cast<char>(byte ^ 0x04));
  SKEIN_CHECK(file.good());
}

// The same at a fraction of the file's length, from 0 to 1.
inline void FlipBitAt(const std::string& path, double fraction) {
  const uint64_t size = std::filesystem::file_size(path);
  SKEIN_CHECK(size > 0);
  FlipBit(path, static_cast<uint64_t>(fraction * static_cast<double>(size - 1)));
}

}  // namespace skein
