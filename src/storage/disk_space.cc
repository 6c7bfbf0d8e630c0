#include "storage/disk_space.h"

#include <sys/statvfs.h>

#include <cerrno>

#include "rocksdb/env.h"
#include "storage/damage.h"
#include "storage/file_util.h"

namespace skein {

absl::StatusOr<uint64_t> FreeBytes(const StorageOptions& options, const std::string& directory) {
  if (options.env != nullptr) {
    uint64_t bytes = 0;
    const rocksdb::Status status = options.env->GetFreeSpace(directory, &bytes);
    if (!status.ok()) return FromRocksStatus(status, "cannot tell the free space of " + directory);
    return bytes;
  }
  struct statvfs info;
  if (::statvfs(directory.c_str(), &info) != 0) {
    return ErrnoStatus("cannot tell the free space of", directory, errno);
  }
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

}  // namespace skein
