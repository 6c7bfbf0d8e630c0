// Keys of the log database. Format: docs/disk_format.md.
#pragma once

#include <string>

#include "common/coding.h"
#include "common/types.h"

namespace skein {

inline constexpr char kLogBaseKey[] = "B";
inline constexpr char kHardStateKey[] = "H";
inline constexpr char kEntryPrefix = 'e';
inline constexpr size_t kEntryKeyBytes = 9;

// Sorts like the index.
inline std::string EntryKey(Index index) {
  std::string key(1, kEntryPrefix);
  PutBigEndian64(&key, index.value());
  return key;
}

inline bool IsEntryKey(std::string_view key) {
  return key.size() == kEntryKeyBytes && key[0] == kEntryPrefix;
}

inline Index IndexOfEntryKey(std::string_view key) {
  return Index(DecodeBigEndian64(key.data() + 1));
}

}  // namespace skein
