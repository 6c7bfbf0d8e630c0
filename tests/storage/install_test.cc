// What an installed snapshot means for readers, directories, and the log.
#include <atomic>
#include <thread>

#include "common/mutex.h"
#include "rocksdb/db.h"
#include "storage/record.h"
#include "tests/storage/snapshot_fixture.h"

namespace skein {
namespace {

class InstallTest : public SnapshotTest {
 protected:
  // Brings the source's state to the target.
  LogBase Fetch() {
    const auto base = Receive(*Take(source_.state->applied_index()), target_.incoming());
    EXPECT_TRUE(base.ok()) << base.status();
    return base.value_or(LogBase{});
  }
  void Install() {
    const auto installed = target_.Install(Fetch());
    ASSERT_TRUE(installed.ok()) << installed.status();
  }
  bool Exists(const std::string& name) const { return FileExists(target_.File(name)); }
};

TEST_F(InstallTest, AScanThatIsUnderWayFinishesOnTheOldState) {
  FillSource();
  // Old values under the same keys, in table files, so that there is something left to read.
  target_.world.options().state_memtable_bytes = 64 << 10;
  target_.Open();
  EntryChain old;
  std::vector<EntryPtr> puts;
  for (int i = 0; i < 150; ++i) {
    puts.push_back(old.Put(Term(1), "key" + std::to_string(1000 + i), std::string(1000, 'o')));
  }
  target_.Apply(puts);
  ASSERT_TRUE(target_.state->Flush().ok());
  Notification scanning;
  Notification installed;
  std::atomic<int> seen{0};
  std::thread scan([&] {
    const auto shown = target_.state->Scan({}, [&](const KeyValueView& pair) {
      if (seen++ == 3) {
        scanning.Notify();
        installed.Wait();
      }
      EXPECT_EQ(pair.value, std::string(1000, 'o'));
      return true;
    });
    EXPECT_TRUE(shown.ok()) << shown.status();
  });
  scanning.Wait();
  Install();
  EXPECT_EQ(target_.Digest(), source_.Digest());
  EXPECT_TRUE((*target_.state->Get("key1")).has_value());
  EXPECT_FALSE((*target_.state->Get("key1001")).has_value());
  EXPECT_TRUE(Exists("state"));
  installed.Notify();
  scan.join();
  EXPECT_EQ(seen, 150);
  EXPECT_FALSE(Exists("state")) << "its last reader is gone";
  EXPECT_TRUE(target_.BecomesEmpty("trash"));
  EXPECT_EQ(target_.Digest(), source_.Digest());
}

TEST_F(InstallTest, ReadersNeverSeeItGoBack) {
  FillSource();
  target_.Apply({entries_.begin(), entries_.begin() + 20});
  std::atomic<bool> done{false};
  std::atomic<int> reads{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      Revision last;
      while (!done || reads < 100) {
        const Revision applied = target_.state->applied_revision();
        EXPECT_GE(applied, last);
        last = applied;
        // Each revision is a put with a key of its own.
        uint64_t pairs = 0;
        EXPECT_TRUE(target_.state->Scan({}, [&](auto&) { return ++pairs > 0; }).ok());
        EXPECT_GE(pairs, applied.value());
        ++reads;
      }
    });
  }
  Install();
  target_.Apply(chain_.Puts(Term(1), 1));
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(target_.state->applied_revision(), chain_.last().revision);
}

TEST_F(InstallTest, TheListenerHearsOfIt) {
  FillSource();
  std::atomic<uint64_t> heard{0};
  ASSERT_TRUE(target_.TryOpen().ok());
  target_.state->SetAppliedListener([&](Index index, Revision revision) {
    EXPECT_EQ(revision, target_.state->applied_revision());
    heard = index.value();
  });
  target_.state->Start(target_.events.get());
  Install();
  EXPECT_EQ(heard, chain_.last().at.index.value());
}

TEST_F(InstallTest, DamageOfTheNewStateIsReportedToo) {
  FillSource();
  std::atomic<int> reports{0};
  target_.state->SetDamageListener([&](const absl::Status&) { ++reports; });
  Install();
  for (const auto& file : std::filesystem::directory_iterator(target_.File("state.1"))) {
    if (file.path().extension() == ".sst") FlipBitAt(file.path(), 0.3);
  }
  EXPECT_FALSE(target_.state->Digest().ok());
  EXPECT_EQ(reports, 1);
}

TEST_F(InstallTest, TheDirectoryGetsItsNameBackAtTheNextStart) {
  FillSource();
  for (int i = 1; i <= 3; ++i) {
    source_.Apply(chain_.Puts(Term(1), 3));
    Install();
    EXPECT_TRUE(Exists("state." + std::to_string(i)));
    EXPECT_FALSE(Exists(i == 1 ? "state" : "state." + std::to_string(i - 1)));
  }
  target_.Open();
  EXPECT_TRUE(Exists("state"));
  EXPECT_FALSE(Exists("state.3"));
  EXPECT_EQ(target_.Digest(), source_.Digest());
  EXPECT_EQ(target_.state->Recovered(), chain_.last());
}

// As a crash leaves it that comes while old readers are still there.
TEST_F(InstallTest, OfSeveralStatesTheNewestCounts) {
  FillSource();
  target_.Apply({entries_.begin(), entries_.begin() + 20});
  ASSERT_TRUE(target_.state->Flush().ok());
  Install();
  target_.state.reset();
  std::filesystem::rename(target_.File("state.1"), target_.File("state.10"));
  std::filesystem::create_directory(target_.File("state"));
  std::filesystem::create_directory(target_.File("state.9"));
  std::filesystem::create_directory(target_.File("state.x"));
  target_.Open();
  EXPECT_EQ(target_.Digest(), source_.Digest());
  EXPECT_FALSE(Exists("state.9") || Exists("state.10"));
  EXPECT_TRUE(Exists("state.x")) << "not one of ours";
}

TEST_F(InstallTest, WhatCannotBeOpenedLeavesTheOldState) {
  FillSource();
  target_.Apply({entries_.begin(), entries_.begin() + 20});
  ASSERT_TRUE(target_.state->Flush().ok());
  const uint64_t digest = target_.Digest();
  const LogBase base = Fetch();
  ASSERT_TRUE(ReplaceFile(target_.File("incoming/state/CURRENT"), "MANIFEST-999999\n").ok());
  EXPECT_FALSE(target_.Install(base).ok());
  EXPECT_EQ(target_.Digest(), digest);
  EXPECT_TRUE(target_.events->All<StorageFailed>().empty());
  target_.Open();
  EXPECT_EQ(target_.Digest(), digest);
  // And it can be fetched again.
  Install();
  EXPECT_EQ(target_.Digest(), source_.Digest());
}

TEST_F(InstallTest, TheStateKnowsItsMembership) {
  FillSource();
  EXPECT_EQ(source_.state->membership(), MembersNamed({"n1", "n3"}));
  EXPECT_EQ(source_.state->applied_revision(), Revision(200)) << "a change takes no revision";
  ASSERT_TRUE(source_.state->Flush().ok());
  source_.Open();
  EXPECT_EQ(source_.state->membership(), MembersNamed({"n1", "n3"}));
  ASSERT_TRUE(source_.state->AdoptMembership(MembersNamed({"other"})).ok());
  EXPECT_EQ(source_.state->membership(), MembersNamed({"n1", "n3"})) << "it knows better";
  Install();
  EXPECT_EQ(target_.state->membership(), MembersNamed({"n1", "n3"}));
  target_.Open();
  EXPECT_EQ(target_.state->membership(), MembersNamed({"n1", "n3"}));
  EXPECT_EQ(target_.state->RecoveredInstall(),
            (LogBase{chain_.last(), MembersNamed({"n1", "n3"})}));
}

TEST_F(InstallTest, AMalformedMembershipStopsIt) {
  const EntryPtr entry = Entry::Build({}, Term(1), EntryType::kMembership, 0, 0, "garbage");
  target_.state->Apply({entry});
  ASSERT_TRUE(target_.events->WaitUntil([](const std::vector<Event>& events) {
    return !EventLog::AllOf<StorageFailed>(events).empty();
  }));
  EXPECT_TRUE(absl::IsDataLoss(target_.events->All<StorageFailed>().front().status));
  EXPECT_EQ(target_.state->applied_index(), Index(0));
}

// The format of before: position and cluster time alone.
TEST_F(InstallTest, AStateFromBeforeTheMembershipOpensAndAdoptsOne) {
  target_.Apply(chain_.Puts(Term(1), 5));
  ASSERT_TRUE(target_.state->Flush().ok());
  target_.snapshots.reset();
  target_.state.reset();
  rocksdb::DB* db = nullptr;
  ASSERT_TRUE(rocksdb::DB::Open(rocksdb::Options(), target_.File("state"), &db).ok());
  std::string old_record;
  PutLogPoint(&old_record, chain_.last());
  PutFixed64(&old_record, 77);
  ASSERT_TRUE(db->Put({}, "m", SealRecord(old_record)).ok());
  delete db;

  ASSERT_TRUE(target_.TryOpen().ok());
  EXPECT_EQ(target_.state->Recovered(), chain_.last());
  EXPECT_EQ(target_.state->membership(), Membership{});
  EXPECT_EQ(target_.state->RecoveredInstall(), std::nullopt);
  ASSERT_TRUE(target_.state->AdoptMembership(MembersNamed({"n1", "n2"})).ok());
  target_.state->Start(target_.events.get());
  // Its snapshots have it at once.
  const auto snapshot = target_.snapshots->Get(Index(5));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  EXPECT_EQ((*snapshot)->manifest().base, (LogBase{chain_.last(), MembersNamed({"n1", "n2"})}));
  EXPECT_EQ((*snapshot)->manifest().cluster_time_ms, 77u);
  target_.Apply(chain_.Puts(Term(1), 1));
  ASSERT_TRUE(target_.state->Flush().ok());
  target_.Open();
  EXPECT_EQ(target_.state->membership(), MembersNamed({"n1", "n2"}));
}

}  // namespace
}  // namespace skein
