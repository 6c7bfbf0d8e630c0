// Files and directories beside RocksDB's, through the Env of the options, so that whatever a test
// does to that file system happens to them as well. Every error names the file. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/options.h"

namespace skein {

// The Env of the options, or the real one.
rocksdb::Env* EnvOf(const StorageOptions& options);

// kNotFound if there is none.
absl::StatusOr<std::string> ReadFile(rocksdb::Env* env, const std::string& path);

// Durable when it returns: a crash leaves the old content or the new.
absl::Status ReplaceFile(rocksdb::Env* env, const std::string& path, std::string_view content);

// Makes the names in the directory durable.
absl::Status SyncDirectory(rocksdb::Env* env, const std::string& path);

// Durable when it returns: a crash leaves the old name or the new. What bears the new name must be
// absent or, if both are files, goes.
absl::Status Rename(rocksdb::Env* env, const std::string& from, const std::string& to);

// The names in a directory, sorted; none if it does not exist.
absl::StatusOr<std::vector<std::string>> NamesIn(rocksdb::Env* env, const std::string& directory);

}  // namespace skein
