// What can be chosen about the two databases, and the only place where RocksDB's options are set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace rocksdb {
class CompactionFilterFactory;
class Env;
class EventListener;
struct Options;
}  // namespace rocksdb

namespace skein {

struct StorageOptions {
  // Log entries held in memory before they are written to a table file. A multiple of the state's,
  // so that most of what is flushed has been trimmed by then and is never written again.
  size_t log_memtable_bytes = 64 << 20;
  // Applied data held in memory before it is written to a table file; what a restart after a crash
  // has to replay at most.
  // Small, because an insert into a large one misses the processor's caches.
  size_t state_memtable_bytes = 16 << 20;
  // Blocks of the state's table files held in memory, their indexes and filters included.
  size_t state_block_cache_bytes = 256 << 20;
  // Entries that are made durable by one sync, at most (one write may be larger).
  size_t log_group_bytes_max = 4 << 20;
  // Entries that are applied by one RocksDB write, at most (one entry may be larger).
  size_t state_group_bytes_max = 1 << 20;
  // Entries that were cut off from the log and are kept for the operator, at most (R29).
  uint64_t divergent_bytes_max = uint64_t{1} << 30;
  // A snapshot for another node that is older than this is not given to one that asks anew.
  uint64_t snapshot_reuse_max_ms = 10 * 60 * 1000;
  // What receiving a snapshot leaves free on the disk.
  uint64_t snapshot_disk_reserve_bytes = 256 << 20;
  // How fast files that are no longer needed are given back to the file system, in bytes/s.
  size_t delete_bytes_per_second = 128 << 20;
  // The file system below both databases; null: the real one. Outlives them. For tests.
  rocksdb::Env* env = nullptr;
};

// `trim` drops the entries that are no longer needed.
rocksdb::Options LogDatabaseOptions(const StorageOptions& options,
                                    std::shared_ptr<rocksdb::CompactionFilterFactory> trim);

// `listener`, if not null, hears of flushes.
rocksdb::Options StateDatabaseOptions(const StorageOptions& options,
                                      std::shared_ptr<rocksdb::EventListener> listener);

}  // namespace skein
