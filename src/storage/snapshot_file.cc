#include "storage/snapshot_file.h"

#include <memory>

#include "rocksdb/convenience.h"
#include "rocksdb/env.h"
#include "rocksdb/options.h"
#include "storage/damage.h"

namespace skein {

bool IsTableFile(std::string_view name) { return name.ends_with(".sst"); }

absl::StatusOr<std::string> ReadPart(rocksdb::Env* env, const std::string& path, uint64_t offset,
                                     size_t bytes_max) {
  std::unique_ptr<rocksdb::RandomAccessFile> file;
  rocksdb::Status status = env->NewRandomAccessFile(path, &file, rocksdb::EnvOptions());
  std::string bytes(bytes_max, '\0');
  rocksdb::Slice read;
  if (status.ok()) status = file->Read(offset, bytes_max, &read, bytes.data());
  if (!status.ok()) return FromRocksStatus(status, "cannot read " + path);
  if (read.data() != bytes.data()) bytes.assign(read.data(), read.size());
  bytes.resize(read.size());
  return bytes;
}

absl::Status VerifyTableFile(const StorageOptions& options, const std::string& path) {
  StorageOptions small = options;
  small.state_block_cache_bytes = 8 << 20;
  const rocksdb::Status status = rocksdb::VerifySstFileChecksum(
      StateDatabaseOptions(small, nullptr), rocksdb::EnvOptions(), rocksdb::ReadOptions(), path);
  return FromRocksStatus(status, "the file " + path + " of a snapshot is damaged");
}

}  // namespace skein
