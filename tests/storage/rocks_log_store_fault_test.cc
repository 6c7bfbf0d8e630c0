// What the RocksDB log does when its disk fails, runs full, or takes its memory back, beyond the
// contract of LogStore.
#include <algorithm>

#include "tests/storage/rocks_log_store_fixture.h"

namespace skein {
namespace {

using RocksLogStoreFaultTest = RocksLogStoreTest;

void AwaitFailure(const EventLog& events) {
  ASSERT_TRUE(events.WaitUntil(
      [](const std::vector<Event>& all) { return !EventLog::AllOf<StorageFailed>(all).empty(); }));
}

std::string FailureIn(const EventLog& events) {
  const auto failures = events.All<StorageFailed>();
  return failures.empty() ? "" : MessageOf(failures.front().status);
}

TEST_F(RocksLogStoreFaultTest, AFailedSyncNamesTheFile) {
  Open();
  WriteSome();
  const std::string file = WalFile();
  world().fs().FailSyncsOf("*.log");
  Write({.entries = chain_.Puts(Term(1), 1)});
  AwaitFailure(*events_);
  EXPECT_NE(FailureIn(*events_).find(file), std::string::npos) << FailureIn(*events_);
}

TEST_F(RocksLogStoreFaultTest, AFailedReadNamesTheFileAndTheEntry) {
  Open();
  // Of several blocks, so that what recovery reads does not bring all into the cache.
  WriteAndWait({.hard_state = HardState{.term = Term(1), .commit = Index(50)},
                .entries = chain_.Puts(Term(1), 50, 5000)});
  Open();  // moves the entries into a table file
  world().fs().FailReadsOf("*/log/*.sst");
  store_->Read({.id = 1, .first = Index(20), .bytes_max = 1});
  AwaitFailure(*events_);
  EXPECT_NE(FailureIn(*events_).find(".sst"), std::string::npos) << FailureIn(*events_);
  EXPECT_NE(FailureIn(*events_).find("entry 20"), std::string::npos) << FailureIn(*events_);
}

TEST_F(RocksLogStoreFaultTest, ABitThatFlipsOnTheWayFromTheDiskIsNoticed) {
  Open();
  WriteAndWait({.hard_state = HardState{.term = Term(1), .commit = Index(50)},
                .entries = chain_.Puts(Term(1), 50, 5000)});
  Open();
  world().fs().FlipBitInReadsOf("*/log/*.sst", 100'000);
  store_->Read({.id = 1, .first = Index(15), .bytes_max = 1 << 20});
  AwaitFailure(*events_);
  EXPECT_TRUE(absl::IsDataLoss(events_->All<StorageFailed>().front().status));
  EXPECT_NE(FailureIn(*events_).find(".sst"), std::string::npos) << FailureIn(*events_);
  world().fs().FlipBitInReadsOf("", 0);
  EXPECT_EQ(Open().last, chain_.last()) << "the file itself is sound";
}

TEST_F(RocksLogStoreFaultTest, AFullDiskIsToldApartAndNamesTheDirectory) {
  Open();
  WriteSome();
  world().fs().SetFreeBytes(10);
  Write({.entries = chain_.Puts(Term(1), 1)});
  AwaitFailure(*events_);
  EXPECT_TRUE(absl::IsResourceExhausted(events_->All<StorageFailed>().front().status));
  EXPECT_NE(FailureIn(*events_).find(LogDirectory()), std::string::npos) << FailureIn(*events_);
}

// RocksDB would write its memory to a table file and go on (R7).
TEST_F(RocksLogStoreFaultTest, AfterAFailureRocksDbDoesNotRecoverByItself) {
  Open();
  WriteSome();
  const uint64_t with_the_failure = world().fs().changes() + 1;
  world().fs().SetFreeBytes(10);
  Write({.entries = chain_.Puts(Term(1), 1)});
  AwaitFailure(*events_);
  world().fs().SetFreeBytes(std::nullopt);
  EXPECT_FALSE(WaitUntil(std::chrono::milliseconds(300),
                         [&] { return world().fs().changes() > with_the_failure; }));
}

// One script, with a crash before each of its changes of the disk in turn: whatever a crash leaves,
// the log opens without help, has all that was persisted, and goes on.
class CrashAtEveryPointTest : public RocksLogStoreTest {
 protected:
  // Returns what was persisted. Entries of term 2 replace some of term 1, some are trimmed.
  Index RunUntilCrash() {
    const std::vector<EntryPtr> first = chain_.Puts(Term(1), 12, 300);
    points_ = PointsOf(first);
    EntryChain second(first[7]->point());
    const std::vector<EntryPtr> replacement = second.Puts(Term(2), 10, 300);
    std::vector<LogWrite> script = {
        {.hard_state = HardState{.term = Term(1)}, .entries = {first.begin(), first.begin() + 6}},
        {.entries = {first.begin() + 6, first.end()}},
        {.hard_state = HardState{.term = Term(2)},
         .truncate_from = Index(9),
         .entries = {replacement.begin(), replacement.begin() + 5}},
        {.entries = {replacement.begin() + 5, replacement.end()}},
    };
    const std::vector<Index> last_after = {Index(6), Index(12), Index(13), Index(18)};
    Index persisted;
    for (size_t i = 0; i < script.size(); ++i) {
      const uint64_t id = i + 1;
      Write(std::move(script[i]));
      EXPECT_TRUE(events_->WaitUntil([id](const std::vector<Event>& events) {
        const auto all = EventLog::AllOf<Persisted>(events);
        return (!all.empty() && all.back().id == id) ||
               !EventLog::AllOf<StorageFailed>(events).empty();
      }));
      if (!events_->All<StorageFailed>().empty()) break;
      persisted = last_after[i];
      if (i == 2) points_.resize(8);
      if (i == 2) std::ranges::copy(PointsOf(replacement), std::back_inserter(points_));
      if (i == 1) store_->Trim(Index(3));
    }
    alternative_ = points_;
    alternative_.resize(8);
    std::ranges::copy(PointsOf(replacement), std::back_inserter(alternative_));
    return persisted;
  }

  std::vector<LogPoint> points_;       // of the log as it was persisted
  std::vector<LogPoint> alternative_;  // with the replacement, which may be durable unheard
};

TEST_F(CrashAtEveryPointTest, NothingPersistedIsLost) {
  int crashes = 0;
  bool crashed = true;
  for (uint64_t point = 1; crashed; ++point) {
    SCOPED_TRACE(point);
    // What is left of the file being written differs from time to time.
    const TornTail tail{.sound_bytes = point * 97 % 1500, .garbage_bytes = point * 31 % 400};
    NewWorld();
    world().fs().CrashAtChange(point, tail);
    chain_ = EntryChain();
    Index persisted;
    const absl::StatusOr<LogRecovery> opened = TryOpen();
    if (opened.ok()) persisted = RunUntilCrash();
    crashed = world().fs().crashed();
    world().LosePower(tail);
    const LogRecovery recovery = Open();
    ASSERT_NE(store_, nullptr);
    const Index last = recovery.last.at.index;
    crashes += crashed ? 1 : 0;
    ASSERT_GE(last, persisted);
    ASSERT_LE(recovery.acknowledged, last) << "a debt, but nothing was damaged";
    if (last > Index(0)) {
      const LogPoint& found = recovery.last;
      const size_t at = last.value() - 1;
      EXPECT_TRUE((at < points_.size() && found == points_[at]) ||
                  (at < alternative_.size() && found == alternative_[at]));
    }
    EntryChain more(recovery.last);
    WriteAndWait({.hard_state = HardState{.term = Term(3)}, .entries = more.Puts(Term(3), 2)});
    EXPECT_EQ(Open().last, more.last());
    Close();
  }
  EXPECT_GT(crashes, 20);
}

// Truncation of a log that a flipped bit has shortened, so that the mark stands above its end.
class DamagedLogTest : public RocksLogStoreTest {
 protected:
  // 50 entries were acknowledged, some are lost. Returns all of them.
  std::vector<EntryPtr> LoseTheEnd() {
    Open();
    std::vector<EntryPtr> entries = WriteSome();
    Close();
    FlipBitAt(WalFile(), 0.5);
    const LogRecovery recovery = Open();
    end_ = recovery.last.at.index;
    EXPECT_LT(end_, Index(50));
    EXPECT_GT(end_, Index(10));
    return entries;
  }
  // Replaces all from `from` on by so many entries of term 2.
  EntryChain Replace(const std::vector<EntryPtr>& entries, Index from, int count) {
    EntryChain chain(entries[from.value() - 2]->point());
    WriteAndWait({.hard_state = HardState{.term = Term(2)},
                  .truncate_from = from,
                  .entries = chain.Puts(Term(2), count)});
    return chain;
  }
  std::string Mark() const { return world().directory().File("acknowledged"); }

  Index end_;
};

TEST_F(DamagedLogTest, TruncationLeavesTheDebt) {
  const std::vector<EntryPtr> entries = LoseTheEnd();
  const Index from(end_.value() - 3);
  EntryChain chain = Replace(entries, from, 2);
  LogRecovery recovery = Open();
  EXPECT_EQ(recovery.last, chain.last());
  EXPECT_EQ(recovery.acknowledged, Index(50));
  // Truncation to the very end of what is left, and growth that stays below the mark.
  WriteAndWait({.truncate_from = from});
  recovery = Open();
  EXPECT_EQ(recovery.last, entries[from.value() - 2]->point());
  EXPECT_EQ(recovery.acknowledged, Index(50));
}

TEST_F(DamagedLogTest, TheDebtIsPaidWhenTheLogHasPassedTheMark) {
  const std::vector<EntryPtr> entries = LoseTheEnd();
  EntryChain chain = Replace(entries, Index(end_.value() - 3), 2);
  const int missing = static_cast<int>(50 - chain.last().at.index.value());
  WriteAndWait({.entries = chain.Puts(Term(2), missing - 1)});
  EXPECT_EQ(Open().acknowledged, Index(50)) << "at 49 it is still owed";
  WriteAndWait({.entries = chain.Puts(Term(2), 1)});
  LogRecovery recovery = Open();
  EXPECT_EQ(recovery.last, chain.last());
  EXPECT_EQ(recovery.acknowledged, Index(50));
  // From here on the mark is that of a healthy log, and goes down with it.
  WriteAndWait({.truncate_from = Index(45)});
  recovery = Open();
  EXPECT_EQ(recovery.last.at.index, Index(44));
  EXPECT_EQ(recovery.acknowledged, Index(44));
}

// The log begins anew with a snapshot, but what it has acknowledged above that is still owed.
TEST_F(DamagedLogTest, AResetLeavesTheDebtAboveIt) {
  LoseTheEnd();
  EntryChain other;
  other.Puts(Term(2), 40);
  const LogBase base{other.last(), {}};
  WriteAndWait({.hard_state = HardState{.term = Term(2)}, .reset = base});
  LogRecovery recovery = Open();
  EXPECT_EQ(recovery.last, base.point);
  EXPECT_EQ(recovery.acknowledged, Index(50));
  WriteAndWait({.entries = other.Puts(Term(2), 9)});
  EXPECT_EQ(Open().acknowledged, Index(50)) << "at 49 it is still owed";
  WriteAndWait({.entries = other.Puts(Term(2), 2)});
  recovery = Open();
  EXPECT_EQ(recovery.last, other.last());
  EXPECT_EQ(recovery.acknowledged, Index(51));
}

TEST_F(DamagedLogTest, AResetBeyondTheDebtPaysIt) {
  LoseTheEnd();
  for (const int index : {50, 60}) {
    EntryChain other;
    other.Puts(Term(static_cast<uint64_t>(index)), index);
    WriteAndWait({.hard_state = HardState{.term = other.last().at.term},
                  .reset = LogBase{other.last(), {}}});
    const LogRecovery recovery = Open();
    EXPECT_EQ(recovery.last, other.last());
    EXPECT_EQ(recovery.acknowledged, other.last().at.index);
  }
}

// A committed entry may be of an earlier term than the one that it has replaced (figure 3.7 of the
// thesis). A crash may leave the mark of the old one and the log that begins with the new one.
TEST_F(RocksLogStoreFaultTest, AMarkOfAnEntryThatASnapshotHasReplacedIsHarmless) {
  Open();
  WriteAndWait({.hard_state = HardState{.term = Term(7)}, .entries = chain_.Puts(Term(7), 50)});
  const std::string mark = world().directory().File("acknowledged");
  const std::string old_mark = *ReadFile(mark);
  EntryChain other;
  other.Puts(Term(6), 50);
  WriteAndWait({.hard_state = HardState{.term = Term(8)}, .reset = LogBase{other.last(), {}}});
  Close();
  ASSERT_TRUE(ReplaceFile(mark, old_mark).ok());
  const LogRecovery recovery = Open();
  EXPECT_EQ(recovery.last, other.last());
  EXPECT_EQ(recovery.acknowledged, Index(50));
}

// The mark is not synced: a loss of power may bring back the one of before the log passed it, which
// names an entry that a leader of a later term has since replaced.
TEST_F(DamagedLogTest, AnOldMarkOfALogThatWasReplacedMeanwhileIsNoDamage) {
  const std::vector<EntryPtr> entries = LoseTheEnd();
  EntryChain chain = Replace(entries, Index(end_.value() - 3), 2);
  const std::string old_mark = *ReadFile(Mark());
  WriteAndWait({.entries = chain.Puts(Term(2), 60)});
  Close();
  ASSERT_TRUE(ReplaceFile(Mark(), old_mark).ok());
  EXPECT_EQ(Open().last, chain.last());
}

TEST_F(RocksLogStoreFaultTest, AMarkThatALossOfPowerMadeOlderIsHarmless) {
  Open();
  WriteSome();
  const std::string mark = world().directory().File("acknowledged");
  const std::string old_mark = *ReadFile(mark);
  const HardState vote{.term = Term(4), .vote = NodeId(3)};
  WriteAndWait({.hard_state = vote, .entries = chain_.Puts(Term(4), 10)});
  world().LosePower({.sound_bytes = 50, .garbage_bytes = 50});
  Close();
  ASSERT_TRUE(ReplaceFile(mark, old_mark).ok());
  const LogRecovery recovery = Open();
  EXPECT_EQ(recovery.last, chain_.last());
  EXPECT_EQ(recovery.hard_state, vote);
  EXPECT_EQ(recovery.acknowledged, Index(50));
}

}  // namespace
}  // namespace skein
