// Small files, outside RocksDB. Every error names the file. Thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace skein {

// Temporary files end so; whatever bears it at start is a leftover.
inline constexpr char kTemporarySuffix[] = ".tmp";

// A status from errno: `what` says what was tried.
absl::Status ErrnoStatus(const std::string& what, const std::string& path, int error);

bool FileExists(const std::string& path);

// kNotFound if there is none.
absl::StatusOr<std::string> ReadFile(const std::string& path);

// Durable when it returns: a crash leaves the old content or the new. Mode 0600.
absl::Status ReplaceFile(const std::string& path, std::string_view content);

absl::Status SyncDirectory(const std::string& path);

// Mode 0700; fine if it exists. Its entry in the parent is durable when it returns.
absl::Status MakeDirectory(const std::string& path);

// Whether the directory holds a file whose name ends so.
bool HasFilesEndingIn(const std::string& directory, std::string_view suffix);

}  // namespace skein
