#include "storage/options.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "rocksdb/db.h"
#include "rocksdb/options.h"
#include "rocksdb/rate_limiter.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

// So many writes go into one file each, and none of them is compacted.
void FlushFiles(rocksdb::DB* db, int count) {
  for (int i = 0; i < count; ++i) {
    ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), "key", std::to_string(i)).ok());
    ASSERT_TRUE(db->Flush(rocksdb::FlushOptions()).ok());
  }
}

TEST(StateDatabaseOptions, CompactionTakesItsTimeOnlyWhileItKeepsUp) {
  const TempDir directory;
  rocksdb::Options options = StateDatabaseOptions(StorageOptions(), nullptr);
  options.disable_auto_compactions = true;
  rocksdb::DB* opened = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(options, directory.path(), &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  constexpr int64_t kUnhurried = 64 << 20;
  const auto rate = [&options] { return options.rate_limiter->GetBytesPerSecond(); };
  // RocksDB tells of a flush or a compaction after the call that has waited for it returns.
  const auto becomes = [&rate](auto expected) {
    return WaitUntil(std::chrono::seconds(20), [&] { return expected(rate()); });
  };
  EXPECT_EQ(rate(), kUnhurried);
  FlushFiles(db.get(), 8);
  EXPECT_TRUE(becomes([](int64_t now) { return now > 100 * kUnhurried; }));
  ASSERT_TRUE(db->CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr).ok());
  EXPECT_TRUE(becomes([](int64_t now) { return now == kUnhurried; }));
  FlushFiles(db.get(), 7);
  EXPECT_EQ(rate(), kUnhurried);
}

}  // namespace
}  // namespace skein
