// Keys and values of the state database. Format: docs/disk_format.md.
#pragma once

#include <string>
#include <string_view>

#include "common/coding.h"
#include "common/types.h"

namespace skein {

inline constexpr char kDataPrefix = 'd';
inline constexpr char kDataPrefixEnd = 'e';
inline constexpr char kMetaKey[] = "m";
// Differs between nodes whose state is the same.
inline constexpr char kInstalledKey[] = "s";
// flags 1, version 8
inline constexpr size_t kValueHeaderBytes = 9;

inline void SetDataKey(std::string* out, std::string_view user_key) {
  out->assign(1, kDataPrefix);
  out->append(user_key.data(), user_key.size());
}

inline void SetDataValue(std::string* out, Revision version, std::string_view user_value) {
  out->assign(1, '\0');
  PutFixed64(out, version.value());
  out->append(user_value.data(), user_value.size());
}

}  // namespace skein
