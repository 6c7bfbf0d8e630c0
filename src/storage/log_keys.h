// Keys of the log database. Format: docs/disk_format.md.
#pragma once

#include <string>

#include "common/coding.h"
#include "common/types.h"

namespace skein {

inline constexpr char kLogBaseKey[] = "B";
inline constexpr char kHardStateKey[] = "H";
inline constexpr char kMembershipPrefix = 'c';
inline constexpr char kEntryPrefix = 'e';
// Of an entry or a membership: prefix 1, index 8.
inline constexpr size_t kIndexedKeyBytes = 9;

// Of the membership that the entry at `index` has put in force. Sorts like the index.
inline std::string MembershipKey(Index index) {
  std::string key(1, kMembershipPrefix);
  PutBigEndian64(&key, index.value());
  return key;
}

inline bool IsMembershipKey(std::string_view key) {
  return key.size() == kIndexedKeyBytes && key[0] == kMembershipPrefix;
}

// Sorts like the index.
inline std::string EntryKey(Index index) {
  std::string key(1, kEntryPrefix);
  PutBigEndian64(&key, index.value());
  return key;
}

inline bool IsEntryKey(std::string_view key) {
  return key.size() == kIndexedKeyBytes && key[0] == kEntryPrefix;
}

// Of an entry's or a membership's key.
inline Index IndexOfKey(std::string_view key) { return Index(DecodeBigEndian64(key.data() + 1)); }

}  // namespace skein
