// What the RocksDB log does about damage, beyond the contract of LogStore.
#include "storage/log_keys.h"
#include "storage/record.h"
#include "tests/storage/rocks_log_store_fixture.h"

namespace skein {
namespace {

TEST_F(RocksLogStoreTest, AFlippedBitAmidTheWriteAheadLogDoesNotGoUnnoticed) {
  Open();
  const std::vector<EntryPtr> entries = WriteSome();
  Close();
  FlipBitAt(WalFile(), 0.5);
  const LogRecovery recovery = Open();
  ASSERT_LT(recovery.last.at.index, Index(50));
  ASSERT_GT(recovery.last.at.index, Index(5));
  EXPECT_EQ(recovery.acknowledged, Index(50));
  // It is owed until the log has been brought up to it again, over restarts.
  EXPECT_EQ(Open().acknowledged, Index(50));
  const size_t kept = recovery.last.at.index.value();
  WriteAndWait({.entries = {entries[kept]}});
  EXPECT_EQ(Open().acknowledged, Index(50));
  WriteAndWait({.entries = {entries.begin() + static_cast<long>(kept) + 1, entries.end()}});
  const LogRecovery repaired = Open();
  EXPECT_EQ(repaired.last, entries.back()->point());
  EXPECT_EQ(repaired.acknowledged, Index(50));
}

TEST_F(RocksLogStoreTest, AVoteThatTheWriteAheadLogLostIsRemembered) {
  Open();
  WriteSome();
  const HardState vote{.term = Term(9), .vote = NodeId(3)};
  WriteAndWait({.hard_state = vote});
  Close();
  FlipBitAt(WalFile(), 0.995);
  const LogRecovery recovery = Open();
  EXPECT_EQ(recovery.hard_state.term, Term(9));
  EXPECT_EQ(recovery.hard_state.vote, NodeId(3));
}

TEST_F(RocksLogStoreTest, ATornTailIsCutWithoutAnAlarm) {
  Open();
  WriteSome();
  for (const EntryPtr& entry : chain_.Puts(Term(1), 20, 5000)) Write({.entries = {entry}});
  world().LosePower({.sound_bytes = 100});
  const LogRecovery recovery = Open();
  EXPECT_GE(recovery.last.at.index, Index(50));
  EXPECT_LE(recovery.acknowledged, recovery.last.at.index);
}

TEST_F(RocksLogStoreTest, AMissingHardStateIsRefused) {
  Open();
  WriteSome();
  Close();
  Tamper([](rocksdb::DB* db) { ASSERT_TRUE(db->Delete({}, "H").ok()); });
  EXPECT_NE(Refusal().find("no hard state"), std::string::npos);
}

TEST_F(RocksLogStoreTest, ADamagedHardStateIsRefused) {
  Open();
  WriteSome();
  Close();
  Tamper([](rocksdb::DB* db) {
    std::string value;
    ASSERT_TRUE(db->Get({}, "H", &value).ok());
    value[3] = static_cast<char>(value[3] ^ 1);
    ASSERT_TRUE(db->Put({}, "H", value).ok());
  });
  EXPECT_NE(Refusal().find("damaged hard state"), std::string::npos);
}

TEST_F(RocksLogStoreTest, ALostEntryIsRefusedByItsIndex) {
  Open();
  WriteSome();
  Close();
  Tamper([](rocksdb::DB* db) { ASSERT_TRUE(db->Delete({}, EntryKeyOf(33)).ok()); });
  EXPECT_NE(Refusal().find("has lost entry 33"), std::string::npos);
}

TEST_F(RocksLogStoreTest, ADamagedEntryIsRefusedByItsIndex) {
  Open();
  WriteSome();
  Close();
  Tamper([](rocksdb::DB* db) {
    std::string frame;
    ASSERT_TRUE(db->Get({}, EntryKeyOf(21), &frame).ok());
    frame.back() = static_cast<char>(frame.back() ^ 1);
    ASSERT_TRUE(db->Put({}, EntryKeyOf(21), frame).ok());
  });
  EXPECT_NE(Refusal().find("damaged at entry 21"), std::string::npos);
}

TEST_F(RocksLogStoreTest, AnEntryOfAnotherHistoryIsRefused) {
  Open();
  const std::vector<EntryPtr> entries = WriteSome();
  Close();
  EntryChain other(entries[28]->point());
  other.Put(Term(1), "x", "y");
  const EntryPtr stranger = other.Put(Term(1), "x", "z");  // index 31, sound in itself
  Tamper(
      [&](rocksdb::DB* db) { ASSERT_TRUE(db->Put({}, EntryKeyOf(31), stranger->frame()).ok()); });
  EXPECT_NE(Refusal().find("damaged at entry 31: it does not follow"), std::string::npos);
}

TEST_F(RocksLogStoreTest, AnAcknowledgedEntryThatWasExchangedIsRefused) {
  Open();
  const std::vector<EntryPtr> entries = WriteSome();
  Close();
  EntryChain other(entries[48]->point());
  const EntryPtr stranger = other.Put(Term(1), "x", "z");
  Tamper(
      [&](rocksdb::DB* db) { ASSERT_TRUE(db->Put({}, EntryKeyOf(50), stranger->frame()).ok()); });
  EXPECT_NE(Refusal().find("another entry 50"), std::string::npos);
}

TEST_F(RocksLogStoreTest, RecordsOfMembershipsMustBeThoseOfTheEntries) {
  Open();
  std::vector<EntryPtr> entries = chain_.Puts(Term(1), 4);
  entries.push_back(chain_.Change(Term(1), MembersNamed({"n1"})));  // 5
  entries.push_back(chain_.Put(Term(1), "k", "v"));
  entries.push_back(chain_.Change(Term(1), MembersNamed({"n1", "n2"})));  // 7
  WriteAndWait({.hard_state = HardState{.term = Term(1), .commit = Index(6)}, .entries = entries});
  Close();
  std::string record;
  Tamper([&](rocksdb::DB* db) {
    ASSERT_TRUE(db->Get({}, MembershipKey(Index(7)), &record).ok());
    ASSERT_TRUE(db->Delete({}, MembershipKey(Index(7))).ok());
  });
  EXPECT_NE(Refusal().find("lost the record of the membership of entry 7"), std::string::npos);
  Close();
  Tamper([&](rocksdb::DB* db) {
    ASSERT_TRUE(db->Put({}, MembershipKey(Index(7)), record).ok());
    ASSERT_TRUE(db->Put({}, MembershipKey(Index(5)), record).ok());  // sound, of another entry
  });
  EXPECT_NE(Refusal().find("damaged record of the membership of entry 5"), std::string::npos);
  Close();
  Tamper([&](rocksdb::DB* db) {
    ASSERT_TRUE(db->Put({}, MembershipKey(Index(5)), SealRecord(entries[4]->payload())).ok());
    ASSERT_TRUE(db->Put({}, MembershipKey(Index(6)), record).ok());
  });
  EXPECT_NE(Refusal().find("damaged record of the membership of entry 6"), std::string::npos);
  Close();
  Tamper([&](rocksdb::DB* db) { ASSERT_TRUE(db->Delete({}, MembershipKey(Index(6))).ok()); });
  EXPECT_EQ(Open().memberships.size(), 2u);
}

TEST_F(RocksLogStoreTest, AMalformedMembershipIsNotWritten) {
  Open();
  const EntryPtr entry = Entry::Build({}, Term(1), EntryType::kMembership, 0, 0, "garbage");
  Write({.hard_state = HardState{.term = Term(1)}, .entries = {entry}});
  ASSERT_TRUE(events_->WaitUntil([](const std::vector<Event>& events) {
    return !EventLog::AllOf<StorageFailed>(events).empty();
  }));
  EXPECT_TRUE(absl::IsDataLoss(events_->All<StorageFailed>().front().status));
  EXPECT_EQ(Open().last, LogPoint{});
}

TEST_F(RocksLogStoreTest, ItTellsHowMuchIsBeforeTheTail) {
  Open();
  constexpr uint64_t kBytes = 50'000;
  WriteAndWait({.hard_state = HardState{.term = Term(1), .commit = Index(30)},
                .entries = chain_.Puts(Term(1), 40, kBytes)});
  LogRecovery recovery = Open();
  EXPECT_EQ(recovery.tail.size(), 10u);
  EXPECT_GT(recovery.earlier_bytes, 25 * kBytes);
  EXPECT_LT(recovery.earlier_bytes, 35 * kBytes);
  store_->Trim(Index(20));
  ASSERT_TRUE(
      WaitUntil(std::chrono::seconds(20), [this] { return store_->FirstIndex() == Index(21); }));
  recovery = Open();
  EXPECT_GT(recovery.earlier_bytes, 7 * kBytes);
  EXPECT_LT(recovery.earlier_bytes, 13 * kBytes);
}

TEST_F(RocksLogStoreTest, ADamagedEntryStopsAReadOfIt) {
  Open();
  WriteSome();
  WriteAndWait({.hard_state = HardState{.term = Term(1), .commit = Index(50)}});
  Close();
  Tamper([](rocksdb::DB* db) { ASSERT_TRUE(db->Put({}, EntryKeyOf(10), "garbage").ok()); });
  Open();
  store_->Read({.id = 1, .first = Index(8), .bytes_max = 1 << 20});
  ASSERT_TRUE(events_->WaitUntil([](const std::vector<Event>& events) {
    return !EventLog::AllOf<StorageFailed>(events).empty();
  }));
  const absl::Status status = events_->All<StorageFailed>().front().status;
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(MessageOf(status).find("entry 10"), std::string::npos);
  EXPECT_TRUE(events_->All<LogReadDone>().empty());
}

TEST_F(RocksLogStoreTest, ALogWithoutItsMarkOrWithoutItsDatabaseIsRefused) {
  Open();
  WriteSome();
  Close();
  const std::string mark = world().directory().File("acknowledged");
  const std::string content = *ReadFile(mark);
  std::filesystem::remove(mark);
  EXPECT_NE(Refusal().find("is missing"), std::string::npos);
  ASSERT_TRUE(ReplaceFile(mark, content).ok());
  Open();
  Close();
  std::filesystem::remove_all(LogDirectory());
  EXPECT_NE(Refusal().find("has no RocksDB database"), std::string::npos);
}

TEST_F(RocksLogStoreTest, AfterAFailedSyncNothingCompletes) {
  Open();
  WriteSome();
  const size_t persisted = events_->All<Persisted>().size();
  world().fs().FailSyncsOf("*.log");
  Write({.entries = chain_.Puts(Term(1), 1)});
  ASSERT_TRUE(events_->WaitUntil([](const std::vector<Event>& events) {
    return !EventLog::AllOf<StorageFailed>(events).empty();
  }));
  EXPECT_NE(MessageOf(events_->All<StorageFailed>().front().status).find(LogDirectory()),
            std::string::npos);
  world().fs().FailSyncsOf("");
  Write({.entries = chain_.Puts(Term(1), 1)});
  store_->Read({.id = 1, .first = Index(1), .bytes_max = 1});
  store_->Trim(Index(3));
  EventLog& events = *events_;
  store_.reset();  // joins: whatever would complete has completed
  EXPECT_EQ(events.All<Persisted>().size(), persisted);
  EXPECT_TRUE(events.All<LogReadDone>().empty());
  EXPECT_EQ(events.All<StorageFailed>().size(), 1u);
}

TEST_F(RocksLogStoreTest, ManyWritesShareASync) {
  Open();
  Write({.hard_state = HardState{.term = Term(1)}});
  const uint64_t before = world().fs().syncs();
  for (const EntryPtr& entry : chain_.Puts(Term(1), 2000)) Write({.entries = {entry}});
  WriteAndWait({.hard_state = HardState{.term = Term(1)}});
  EXPECT_LT(world().fs().syncs() - before, 1000u);
}

TEST_F(RocksLogStoreTest, TrimmedEntriesGiveTheirSpaceBack) {
  world().options().log_memtable_bytes = 256 << 10;
  world().options().delete_bytes_per_second = size_t{1} << 30;
  Open();
  Write({.hard_state = HardState{.term = Term(1)}});
  constexpr uint64_t kBytesMax = 8 << 20;
  const auto bytes_used = [&] {
    uint64_t bytes = 0;
    std::error_code ignored;  // files come and go meanwhile
    for (const auto& file : std::filesystem::directory_iterator(LogDirectory(), ignored)) {
      const uint64_t size = file.file_size(ignored);
      if (!ignored) bytes += size;
    }
    return bytes;
  };
  const auto write_and_trim = [&] {
    WriteAndWait({.entries = chain_.Puts(Term(1), 100, 5000)});
    store_->Trim(chain_.last().at.index);
  };
  for (int i = 0; i < 60; ++i) write_and_trim();  // 30 MB
  // A few memtables, their write-ahead logs and some small files stay. RocksDB flushes and deletes
  // in the background, so it may take some more rounds until it has caught up.
  for (int i = 0; i < 500 && bytes_used() >= kBytesMax; ++i) write_and_trim();
  EXPECT_LT(bytes_used(), kBytesMax);
  EXPECT_EQ(Open().last, chain_.last());
}

}  // namespace
}  // namespace skein
