// Drops trimmed entries when a memtable or table file of the log is rewritten anyway: no
// tombstones, and a memtable that was trimmed whole leaves nearly nothing to write.
#pragma once

#include <atomic>
#include <memory>

#include "common/types.h"
#include "rocksdb/compaction_filter.h"

namespace skein {

// Thread-safe. Invariant: no entry at or above the highest index ever set is dropped.
class TrimFilterFactory final : public rocksdb::CompactionFilterFactory {
 public:
  // Entries below `first` may go. The caller has made the new base of the log durable.
  void SetFirst(Index first) { first_.store(first.value(), std::memory_order_release); }

  bool ShouldFilterTableFileCreation(rocksdb::TableFileCreationReason reason) const override;
  std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
      const rocksdb::CompactionFilter::Context& context) override;
  const char* Name() const override { return "skein.TrimFilterFactory"; }

 private:
  std::atomic<uint64_t> first_{0};
};

}  // namespace skein
