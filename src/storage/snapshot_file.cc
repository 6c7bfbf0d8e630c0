#include "storage/snapshot_file.h"

#include <memory>

#include "common/checksum.h"
#include "common/low_priority.h"
#include "rocksdb/env.h"
#include "storage/damage.h"

namespace skein {
namespace {

constexpr size_t kPieceBytes = 4 << 20;

absl::Status CannotRead(const rocksdb::Status& status, const std::string& path) {
  return FromRocksStatus(status, "cannot read " + path);
}

// Reads into `bytes`, whose size says how many are wanted, and shortens it at the end of the file.
rocksdb::Status Read(rocksdb::RandomAccessFile* file, uint64_t offset, std::string* bytes) {
  rocksdb::Slice read;
  const rocksdb::Status status = file->Read(offset, bytes->size(), &read, bytes->data());
  if (!status.ok()) return status;
  if (read.data() != bytes->data()) bytes->assign(read.data(), read.size());
  bytes->resize(read.size());
  return status;
}

}  // namespace

absl::StatusOr<std::string> ReadPart(rocksdb::Env* env, const std::string& path, uint64_t offset,
                                     size_t bytes_max) {
  std::unique_ptr<rocksdb::RandomAccessFile> file;
  rocksdb::Status status = env->NewRandomAccessFile(path, &file, rocksdb::EnvOptions());
  std::string bytes(bytes_max, '\0');
  if (status.ok()) status = Read(file.get(), offset, &bytes);
  if (!status.ok()) return CannotRead(status, path);
  return bytes;
}

absl::StatusOr<uint64_t> ChecksumOfFile(rocksdb::Env* env, const std::string& path,
                                        const SnapshotPace& pace) {
  std::unique_ptr<rocksdb::RandomAccessFile> file;
  rocksdb::Status status = env->NewRandomAccessFile(path, &file, rocksdb::EnvOptions());
  RunningChecksum64 checksum;
  std::string piece(kPieceBytes, '\0');
  for (uint64_t offset = 0; status.ok() && piece.size() == kPieceBytes; offset += piece.size()) {
    AtLowPriority([&] {
      status = Read(file.get(), offset, &piece);
      if (status.ok()) checksum.Add(piece);
    });
    if (!status.ok()) break;
    if (!pace(piece.size())) return absl::CancelledError("reading " + path + " was given up");
  }
  if (!status.ok()) return CannotRead(status, path);
  return checksum.Value();
}

}  // namespace skein
