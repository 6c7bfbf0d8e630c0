#include "storage/options.h"

#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "rocksdb/cache.h"
#include "rocksdb/compaction_filter.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/listener.h"
#include "rocksdb/options.h"
#include "rocksdb/rate_limiter.h"
#include "rocksdb/sst_file_manager.h"
#include "rocksdb/table.h"

namespace skein {
namespace {

// A node whose storage failed stops; RocksDB must not mend itself behind its back (R7), which it
// does by default once a full disk has room again.
class NoRecovery final : public rocksdb::EventListener {
 public:
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status /*error*/,
                            bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

constexpr int64_t kUnhurriedBytesPerSecond = 64 << 20;
constexpr int64_t kHurriedBytesPerSecond = int64_t{16} << 30;

// Compaction takes its time as long as it keeps up, so that the syncs of a log on the same disk do
// not wait for hundreds of megabytes written at once. Otherwise it must not be held up: RocksDB
// would hold up the writers.
class CompactionPace final : public rocksdb::EventListener {
 public:
  explicit CompactionPace(std::shared_ptr<rocksdb::RateLimiter> limiter)
      : limiter_(std::move(limiter)) {}

  void OnFlushCompleted(rocksdb::DB* db, const rocksdb::FlushJobInfo& /*job*/) override {
    Choose(db);
  }
  void OnCompactionCompleted(rocksdb::DB* db, const rocksdb::CompactionJobInfo& /*job*/) override {
    Choose(db);
  }

 private:
  // Two times as many files as make a compaction begin, and half of the memtables that there may
  // be.
  static constexpr int kFilesBehind = 8;
  static constexpr uint64_t kMemtablesBehind = 2;

  void Choose(rocksdb::DB* db) {
    using Properties = rocksdb::DB::Properties;
    std::string files;
    int file_count = 0;
    uint64_t memtables = 0;
    const bool keeps_up = db->GetProperty(Properties::kNumFilesAtLevelPrefix + "0", &files) &&
                          absl::SimpleAtoi(files, &file_count) && file_count < kFilesBehind &&
                          db->GetIntProperty(Properties::kNumImmutableMemTable, &memtables) &&
                          memtables < kMemtablesBehind;
    limiter_->SetBytesPerSecond(keeps_up ? kUnhurriedBytesPerSecond : kHurriedBytesPerSecond);
  }

  const std::shared_ptr<rocksdb::RateLimiter> limiter_;
};

rocksdb::Options CommonOptions(const StorageOptions& options) {
  rocksdb::Options out;
  if (options.env != nullptr) out.env = options.env;
  out.create_if_missing = true;
  // One flush and one compaction side by side; the machine's cores belong to the clients.
  out.max_background_jobs = 2;
  out.max_subcompactions = 1;
  // Each database has exactly one writer.
  out.allow_concurrent_memtable_write = false;
  out.enable_write_thread_adaptive_yield = false;
  out.enable_pipelined_write = false;
  out.unordered_write = false;
  out.two_write_queues = false;
  // Closing must be as quick as a crash; whoever wants a flush asks for it.
  out.avoid_flush_during_shutdown = true;
  // After a failed write or sync the node stops. RocksDB must not go on by itself (R7).
  out.max_bgerror_resume_count = 0;
  out.listeners.push_back(std::make_shared<NoRecovery>());
  out.paranoid_checks = true;
  // Syncs table files as they are written, so that the kernel does not push out 64 MiB at once just
  // when the log wants its sync.
  out.bytes_per_sync = 1 << 20;
  // Unlinking big files stalls file systems that are mounted with discard.
  out.sst_file_manager.reset(rocksdb::NewSstFileManager(
      out.env, nullptr, "", static_cast<int64_t>(options.delete_bytes_per_second)));
  out.max_open_files = 512;
  // RocksDB's own text log: warnings only, bounded.
  out.info_log_level = rocksdb::WARN_LEVEL;
  out.max_log_file_size = 1 << 20;
  out.keep_log_file_num = 2;
  out.stats_dump_period_sec = 0;
  out.stats_persist_period_sec = 0;
  return out;
}

}  // namespace

rocksdb::Options LogDatabaseOptions(const StorageOptions& options,
                                    std::shared_ptr<rocksdb::CompactionFilterFactory> trim) {
  rocksdb::Options out = CommonOptions(options);
  out.compaction_filter_factory = std::move(trim);
  out.write_buffer_size = options.log_memtable_bytes;
  // A flush that takes long must not stop the appends.
  out.max_write_buffer_number = 3;
  // Up to the first bad record: right for a torn, never acknowledged tail. What it would cut of
  // acknowledged entries is noticed by the acknowledged mark.
  out.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  // Has a known bug together with SyncWAL (rocksdb#10892), and the mark does its work.
  out.track_and_verify_wals_in_manifest = false;
  // With it a sync would hold the WAL's mutex.
  out.manual_wal_flush = false;
  out.use_fsync = false;  // fdatasync: times need not survive
  // Entries are read once, in order, by followers that are behind: no compression, no filters, and
  // a small cache.
  out.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;
  table.block_size = 32 << 10;
  table.block_cache = rocksdb::NewLRUCache(8 << 20);
  out.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  out.target_file_size_base = 64 << 20;
  out.max_bytes_for_level_base = 512 << 20;
  return out;
}

rocksdb::Options StateDatabaseOptions(const StorageOptions& options,
                                      std::shared_ptr<rocksdb::EventListener> listener) {
  rocksdb::Options out = CommonOptions(options);
  if (listener != nullptr) out.listeners.push_back(std::move(listener));
  constexpr int64_t kRefillMicros = 10'000;
  out.rate_limiter.reset(rocksdb::NewGenericRateLimiter(kUnhurriedBytesPerSecond, kRefillMicros));
  out.listeners.push_back(std::make_shared<CompactionPace>(out.rate_limiter));
  out.bytes_per_sync = 256 << 10;
  out.write_buffer_size = options.state_memtable_bytes;
  out.max_write_buffer_number = 4;
  // Spares most lookups of keys that are not in the memtable a walk through its skip list.
  out.memtable_prefix_bloom_size_ratio = 0.02;
  out.memtable_whole_key_filtering = true;
  out.compression_per_level = {rocksdb::kNoCompression, rocksdb::kNoCompression,
                               rocksdb::kLZ4Compression};
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;
  table.block_size = 8 << 10;
  table.block_cache = rocksdb::NewLRUCache(options.state_block_cache_bytes);
  // Indexes and filters count against the cache, so that memory stays within the flag.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.whole_key_filtering = true;
  // Point lookups find their key in a block without a binary search.
  table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  out.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  out.target_file_size_base = 64 << 20;
  out.max_bytes_for_level_base = 256 << 20;
  return out;
}

}  // namespace skein
