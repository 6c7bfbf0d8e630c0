// A log store over a file system with faults, for tests that damage what it has written.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "storage/file_util.h"
#include "storage/rocks_log_store.h"
#include "tests/support/storage_entries.h"
#include "tests/support/storage_event_log.h"
#include "tests/support/storage_world.h"

namespace skein {

inline std::string EntryKeyOf(uint64_t index) {
  std::string key = "e";
  PutBigEndian64(&key, index);
  return key;
}

class RocksLogStoreTest : public testing::Test {
 protected:
  FaultyWorld& world() { return *world_; }
  const FaultyWorld& world() const { return *world_; }
  // A new, empty disk.
  void NewWorld() {
    Close();
    world_ = std::make_unique<FaultyWorld>();
  }
  absl::StatusOr<LogRecovery> TryOpen() {
    Close();
    auto store = world().OpenLog({});
    if (!store.ok()) return store.status();
    store_ = *std::move(store);
    absl::StatusOr<LogRecovery> recovery = store_->Recover();
    if (!recovery.ok()) return recovery.status();
    store_->Start(&*events_);
    return recovery;
  }
  LogRecovery Open() {
    absl::StatusOr<LogRecovery> recovery = TryOpen();
    EXPECT_TRUE(recovery.ok()) << recovery.status();
    return recovery.ok() ? *recovery : LogRecovery{};
  }
  void Close() {
    store_.reset();
    events_ = std::make_unique<EventLog>();
    next_id_ = 1;
  }
  void Write(LogWrite write) {
    write.id = next_id_++;
    store_->Write(std::move(write));
  }
  void WriteAndWait(LogWrite write) {
    Write(std::move(write));
    const uint64_t id = next_id_ - 1;
    ASSERT_TRUE(events_->WaitUntil([id](const std::vector<Event>& events) {
      const auto persisted = EventLog::AllOf<Persisted>(events);
      return !persisted.empty() && persisted.back().id == id;
    }));
  }
  // 50 writes of one entry each, all durable; returns the entries.
  std::vector<EntryPtr> WriteSome() {
    std::vector<EntryPtr> entries = chain_.Puts(Term(1), 50, 200);
    for (const EntryPtr& entry : entries) {
      WriteAndWait({.hard_state = HardState{.term = Term(1)}, .entries = {entry}});
    }
    return entries;
  }
  std::string LogDirectory() const { return world().directory().File("log"); }
  // The newest write-ahead log file that is not empty.
  std::string WalFile() const {
    std::string newest;
    for (const auto& file : std::filesystem::directory_iterator(LogDirectory())) {
      if (file.path().extension() == ".log" && file.file_size() > 0 &&
          file.path().string() > newest) {
        newest = file.path().string();
      }
    }
    EXPECT_FALSE(newest.empty());
    return newest;
  }
  // Changes the closed database behind the store's back.
  void Tamper(const std::function<void(rocksdb::DB*)>& change) {
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(rocksdb::Options(), LogDirectory(), &db).ok());
    change(db);
    delete db;
  }
  std::string Refusal() {
    const absl::StatusOr<LogRecovery> recovery = TryOpen();
    EXPECT_EQ(recovery.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(DetailOf(recovery.status()).reason, ErrorReason::kDamagedData);
    EXPECT_FALSE(DetailOf(recovery.status()).hint.empty());
    return MessageOf(recovery.status());
  }

  std::unique_ptr<FaultyWorld> world_ = std::make_unique<FaultyWorld>();
  std::unique_ptr<EventLog> events_ = std::make_unique<EventLog>();
  std::unique_ptr<LogStore> store_;
  uint64_t next_id_ = 1;
  EntryChain chain_;
};

}  // namespace skein
