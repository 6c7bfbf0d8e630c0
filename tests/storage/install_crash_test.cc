// A crash at any change of the disk while a snapshot is received, installed, and the log reset
// leaves the old state with the old log or the new state with the new log, never a mixture.
#include <algorithm>

#include "storage/divergent_tail.h"
#include "storage/reconcile.h"
#include "tests/storage/snapshot_fixture.h"

namespace skein {
namespace {

constexpr uint64_t kCommon = 50;     // entries that both histories have
constexpr uint64_t kSnapshot = 100;  // where the snapshot ends

// A node's log and state on one disk, opened as a node does it.
struct LogAndState {
  LogAndState() {
    world.options().log_memtable_bytes = 1 << 20;  // also how much is allocated ahead of writes
    world.options().state_memtable_bytes = 256 << 10;
    world.options().state_block_cache_bytes = 1 << 20;
  }

  FaultyWorld world;
  std::unique_ptr<EventLog> events;  // of both
  std::unique_ptr<RocksLogStore> log;
  std::unique_ptr<KvStateMachine> state;
  LogRecovery recovery;
  uint64_t next_id = 1;

  absl::Status Open() {
    events = std::make_unique<EventLog>();
    next_id = 1;
    auto opened = world.OpenLog(MembersNamed({"n1", "n2", "n3"}));
    if (!opened.ok()) return opened.status();
    world.fs().OmitRealSyncs();
    log.reset(dynamic_cast<RocksLogStore*>(opened->release()));
    absl::StatusOr<LogRecovery> recovered = log->Recover();
    if (!recovered.ok()) return recovered.status();
    recovery = *std::move(recovered);
    auto state_opened = world.OpenState();
    if (!state_opened.ok()) return state_opened.status();
    state.reset(dynamic_cast<KvStateMachine*>(state_opened->release()));
    const absl::Status reconciled = ReconcileLogAndState(log.get(), state.get(), &recovery);
    if (!reconciled.ok()) return reconciled;
    log->Start(events.get());
    state->Start(events.get());
    return absl::OkStatus();
  }
  void Close() {
    log.reset();
    state.reset();
  }
  bool Await(const std::function<bool(const std::vector<Event>&)>& done) {
    bool failed = false;
    EXPECT_TRUE(events->WaitUntil([&](const std::vector<Event>& all) {
      failed = !EventLog::AllOf<StorageFailed>(all).empty();
      return failed || done(all);
    }));
    return !failed;
  }
  bool Write(LogWrite write) {
    const uint64_t id = write.id = next_id++;
    log->Write(std::move(write));
    return Await([id](const std::vector<Event>& all) {
      const auto persisted = EventLog::AllOf<Persisted>(all);
      return !persisted.empty() && persisted.back().id == id;
    });
  }
  bool Apply(const std::vector<EntryPtr>& entries) {
    state->Apply(entries);
    return Await([&](const std::vector<Event>& all) {
      const auto applied = EventLog::AllOf<Applied>(all);
      return !applied.empty() && applied.back().index == entries.back()->index();
    });
  }
  bool Install(const LogBase& base) {
    state->Install(base);
    return Await([](const std::vector<Event>& all) {
             return !EventLog::AllOf<Installed>(all).empty();
           }) &&
           events->All<Installed>().back().base.ok();
  }
};

class InstallCrashTest : public testing::Test {
 protected:
  InstallCrashTest() {
    common_ = chain_.Puts(Term(1), kCommon, 200);
    newer_ = chain_.Puts(Term(3), static_cast<int>(kSnapshot - kCommon) - 1, 200);
    newer_.push_back(chain_.Change(Term(3), MembersNamed({"n1", "n2", "n4"})));
    more_ = chain_.Puts(Term(3), 5, 200);
    EXPECT_TRUE(source_.Open().ok());
    EXPECT_TRUE(source_.Apply(common_) && source_.Apply(newer_));
    auto store = SnapshotStore::Open(source_.world.options(), source_.world.directory().path(),
                                     source_.state.get());
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    snapshot_ = store_->Get(Index(kSnapshot)).value();
    digest_ = source_.state->Digest().value();
  }

  LogBase base() const { return snapshot_->manifest().base; }

  // A node that has applied what is common, and whose log goes on with `tail`.
  void PrepareTarget(const std::vector<EntryPtr>& tail) {
    target_ = std::make_unique<LogAndState>();
    ASSERT_TRUE(target_->Open().ok());
    ASSERT_TRUE(target_->Write({.hard_state = HardState{.term = Term(1)}, .entries = common_}));
    ASSERT_TRUE(target_->Write(
        {.hard_state = HardState{.term = Term(2), .commit = Index(kCommon)}, .entries = tail}));
    ASSERT_TRUE(target_->Apply(common_));
    ASSERT_TRUE(target_->state->Flush().ok());
  }
  // What the node does, until a crash. Returns how many of its log writes were persisted.
  int ReceiveInstallReset() {
    IncomingSnapshot* const incoming = target_->state->incoming();
    if (!incoming->Begin(snapshot_->manifest()).ok()) return 0;
    if (!SendParts(*snapshot_, incoming, ~size_t{0}, 8'000).ok()) return 0;
    if (!incoming->Finish().ok() || !target_->Install(base())) return 0;
    if (!target_->Write({.hard_state = HardState{.term = Term(3), .commit = Index(kSnapshot)},
                         .reset = base(),
                         .entries = {more_[0]}})) {
      return 0;
    }
    return target_->Write({.entries = {more_.begin() + 1, more_.end()}}) ? 2 : 1;
  }
  void ExpectOld(const std::vector<EntryPtr>& tail) {
    ++old_;
    EXPECT_EQ(target_->recovery.base.point, LogPoint{});
    const LogPoint last = tail.empty() ? common_.back()->point() : tail.back()->point();
    EXPECT_EQ(target_->recovery.last, last);
    EXPECT_EQ(target_->recovery.acknowledged, last.at.index);
    EXPECT_EQ(target_->state->Recovered(), common_.back()->point());
  }
  void ExpectNew(const std::vector<EntryPtr>& tail, int persisted) {
    ++new_;
    EXPECT_EQ(target_->recovery.base, base());
    EXPECT_EQ(target_->state->Recovered(), base().point);
    EXPECT_EQ(target_->state->membership(), base().membership);
    EXPECT_EQ(target_->state->Digest().value(), digest_);
    const Index last = target_->recovery.last.at.index;
    EXPECT_GE(last.value(), kSnapshot + (persisted == 2 ? 5 : persisted));
    if (last > Index(kSnapshot)) {
      EXPECT_EQ(target_->recovery.last, more_[last.value() - kSnapshot - 1]->point());
    }
    EXPECT_LE(target_->recovery.acknowledged, last) << "no debt: nothing was damaged";
    EXPECT_GE(target_->recovery.acknowledged.value(), kSnapshot);
    // What the log has lost is in its file, whoever has reset it.
    const auto files = DivergentTail::List(target_->world.directory().path());
    ASSERT_TRUE(files.ok()) << files.status();
    ASSERT_EQ(files->size(), tail.empty() ? 0 : 1u);
    if (!tail.empty()) {
      EXPECT_EQ(PointsOf(DivergentTail::Read(files->front().path)->entries()), PointsOf(tail));
    }
  }
  void CrashAtEverySecondPoint(const std::vector<EntryPtr>& tail, uint64_t first) {
    bool crashed = true;
    for (uint64_t point = first; crashed; point += 2) {
      SCOPED_TRACE(point);
      PrepareTarget(tail);
      FaultyFs& fs = target_->world.fs();
      fs.CrashAtChange(fs.changes() + point,
                       {.sound_bytes = point * 97 % 900, .garbage_bytes = point * 31 % 200});
      const int persisted = ReceiveInstallReset();
      crashed = fs.crashed();
      target_->world.LosePower();
      target_->Close();
      const absl::Status opened = target_->Open();
      ASSERT_TRUE(opened.ok()) << opened;
      if (target_->state->Recovered().at.index == Index(kCommon)) {
        EXPECT_EQ(persisted, 0);
        ExpectOld(tail);
      } else {
        ExpectNew(tail, persisted);
      }
      if (point % 4 == first % 4) ExpectGoesOn();
    }
    EXPECT_GT(old_, 5);
    EXPECT_GT(new_, 1);
  }
  // Whatever the crash has left, the node gets to where it wanted.
  void ExpectGoesOn() {
    if (target_->state->Recovered().at.index == Index(kCommon)) {
      ASSERT_EQ(ReceiveInstallReset(), 2);
    } else {
      const size_t there = target_->recovery.last.at.index.value() - kSnapshot;
      if (there < more_.size()) {
        ASSERT_TRUE(
            target_->Write({.entries = {more_.begin() + static_cast<long>(there), more_.end()}}));
      }
    }
    ASSERT_TRUE(target_->Apply(more_));
    target_->Close();
    ASSERT_TRUE(target_->Open().ok());
    EXPECT_EQ(target_->recovery.base, base());
    EXPECT_EQ(target_->recovery.last, more_.back()->point());
  }

  EntryChain chain_;
  std::vector<EntryPtr> common_;
  std::vector<EntryPtr> newer_;  // after the common ones, up to where the snapshot ends
  std::vector<EntryPtr> more_;   // after the snapshot
  LogAndState source_;
  std::unique_ptr<SnapshotStore> store_;
  std::shared_ptr<const Snapshot> snapshot_;
  uint64_t digest_ = 0;
  std::unique_ptr<LogAndState> target_;
  int old_ = 0;
  int new_ = 0;
};

// Of a log that is behind, as that of a node that was away.
TEST_F(InstallCrashTest, OfANodeThatIsBehindAtOddPoints) { CrashAtEverySecondPoint({}, 1); }
TEST_F(InstallCrashTest, OfANodeThatIsBehindAtEvenPoints) { CrashAtEverySecondPoint({}, 2); }

// Of a log that goes on elsewhere, beyond where the snapshot ends, as a former leader's does.
class InstallCrashOfDivergentTest : public InstallCrashTest {
 protected:
  const std::vector<EntryPtr> tail_ = EntryChain(common_.back()->point()).Puts(Term(2), 70, 200);
};
TEST_F(InstallCrashOfDivergentTest, AtOddPoints) { CrashAtEverySecondPoint(tail_, 1); }
TEST_F(InstallCrashOfDivergentTest, AtEvenPoints) { CrashAtEverySecondPoint(tail_, 2); }

// The state is new, and a crash has come before the log was reset.
class ReconcileTest : public InstallCrashTest {
 protected:
  // Installs; then the node ends without a reset of its log.
  void InstallWithoutReset(const std::vector<EntryPtr>& tail) {
    PrepareTarget(tail);
    ASSERT_TRUE(Receive(*snapshot_, target_->state->incoming()).ok());
    ASSERT_TRUE(target_->Install(base()));
    target_->Close();
  }
};

TEST_F(ReconcileTest, ALogThatIsBehindIsReset) {
  InstallWithoutReset({});
  ASSERT_TRUE(target_->Open().ok());
  ExpectNew({}, 0);
  ExpectGoesOn();
}

TEST_F(ReconcileTest, ADivergentLogIsReset) {
  EntryChain other(common_.back()->point());
  const std::vector<EntryPtr> tail = other.Puts(Term(2), 70);
  InstallWithoutReset(tail);
  ASSERT_TRUE(target_->Open().ok());
  ExpectNew(tail, 0);
  ExpectGoesOn();
}

TEST_F(ReconcileTest, ALogThatHoldsTheVeryEntryIsKept) {
  std::vector<EntryPtr> tail = newer_;
  tail.insert(tail.end(), more_.begin(), more_.end());
  InstallWithoutReset(tail);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(target_->Open().ok());
    EXPECT_EQ(target_->recovery.base.point, LogPoint{});
    EXPECT_EQ(target_->recovery.last, more_.back()->point());
    EXPECT_EQ(target_->recovery.acknowledged, more_.back()->index());
    EXPECT_EQ(target_->recovery.memberships.size(), 1u);
    EXPECT_EQ(target_->state->Recovered(), base().point);
    if (i == 0) {
      ASSERT_TRUE(target_->Apply(more_));
    }
    target_->Close();
  }
}

// What it has acknowledged beyond the snapshot is still owed: the leader may have counted it.
TEST_F(ReconcileTest, ALogThatLostItsEndIsResetAndRemembersItsDebt) {
  std::vector<EntryPtr> tail = newer_;
  tail.insert(tail.end(), more_.begin(), more_.end());
  InstallWithoutReset(tail);
  // The last write is gone, with the entry at the end of the snapshot.
  std::string newest;
  for (const auto& file :
       std::filesystem::directory_iterator(target_->world.directory().File("log"))) {
    if (file.path().extension() == ".log" && file.file_size() > 0) {
      newest = std::max(newest, file.path().string());
    }
  }
  FlipBitAt(newest, 0.9);
  ASSERT_TRUE(target_->Open().ok());
  EXPECT_EQ(target_->recovery.base, base());
  EXPECT_EQ(target_->recovery.last, base().point);
  EXPECT_EQ(target_->recovery.acknowledged, more_.back()->index());
  ASSERT_TRUE(target_->Write({.entries = {more_.begin(), more_.begin() + 4}}));
  target_->Close();
  ASSERT_TRUE(target_->Open().ok());
  EXPECT_EQ(target_->recovery.acknowledged, more_.back()->index()) << "still owed";
  ASSERT_TRUE(target_->Write({.entries = {more_[4]}}));
  target_->Close();
  ASSERT_TRUE(target_->Open().ok());
  EXPECT_EQ(target_->recovery.last.at.index, more_.back()->index());
  EXPECT_EQ(target_->recovery.acknowledged, more_.back()->index());
}

TEST_F(ReconcileTest, AnInstallFromLongAgoDoesNotMatter) {
  InstallWithoutReset({});
  ASSERT_TRUE(target_->Open().ok());
  ExpectGoesOn();
  ASSERT_TRUE(target_->Apply(more_));
  ASSERT_TRUE(target_->state->Flush().ok());
  target_->log->Trim(more_[1]->index());
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(20),
                        [&] { return target_->log->FirstIndex() == more_[2]->index(); }));
  target_->Close();
  ASSERT_TRUE(target_->Open().ok());
  EXPECT_EQ(target_->recovery.last, more_.back()->point());
  EXPECT_EQ(target_->state->Recovered(), more_.back()->point());
}

TEST_F(ReconcileTest, ANewStateAdoptsTheMembershipOfTheLog) {
  target_ = std::make_unique<LogAndState>();
  ASSERT_TRUE(target_->Open().ok());
  EXPECT_EQ(target_->state->membership(), MembersNamed({"n1", "n2", "n3"}));
  ASSERT_TRUE(target_->Write({.hard_state = HardState{.term = Term(1)}, .entries = common_}));
  ASSERT_TRUE(target_->Apply(common_));
  EXPECT_EQ(target_->state->membership(), MembersNamed({"n1", "n2", "n3"}));
  ASSERT_TRUE(target_->Write({.hard_state = HardState{.term = Term(3)}, .entries = newer_}));
  ASSERT_TRUE(target_->Apply(newer_));
  EXPECT_EQ(target_->state->membership(), MembersNamed({"n1", "n2", "n4"}));
}

}  // namespace
}  // namespace skein
