// What every LogStore must keep, as a suite over a World (see world.h), on which stores are opened
// one after the other. Instantiate it with INSTANTIATE_TYPED_TEST_SUITE_P. Beside its faults a
// World has
//
//   absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const Membership& initial);
//   bool WaitUntil(const EventLog& log, const std::function<bool(const std::vector<Event>&)>&
//   done);
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "replication/log_store.h"
#include "tests/contract/world.h"
#include "tests/support/storage_entries.h"
#include "tests/support/storage_event_log.h"

namespace skein {

inline Membership MembershipOf(const std::string& name) {
  return {.members = {{.id = NodeIdOf(name), .name = name, .address = name + ":7411"}}};
}

template <typename World>
class LogStoreContract : public testing::Test {
 protected:
  // Opens, recovers and starts a store with an event log of its own.
  LogRecovery Open(const Membership& initial = MembershipOf("n1")) {
    store_.reset();
    events_ = std::make_unique<EventLog>();
    auto store = world_.OpenLog(initial);
    EXPECT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    absl::StatusOr<LogRecovery> recovery = store_->Recover();
    EXPECT_TRUE(recovery.ok()) << recovery.status();
    store_->Start(events_.get());
    next_id_ = 1;
    return recovery.ok() ? *std::move(recovery) : LogRecovery{};
  }

  uint64_t Write(LogWrite write) {
    write.id = next_id_++;
    store_->Write(std::move(write));
    return next_id_ - 1;
  }
  uint64_t Append(std::vector<EntryPtr> entries) { return Write({.entries = std::move(entries)}); }
  // With the hard state that a log with entries must have.
  uint64_t AppendInTerm(Term term, std::vector<EntryPtr> entries) {
    return Write({.hard_state = HardState{.term = term}, .entries = std::move(entries)});
  }

  void AwaitFailure() {
    ASSERT_TRUE(world_.WaitUntil(*events_, [](const std::vector<Event>& events) {
      return !EventLog::AllOf<StorageFailed>(events).empty();
    }));
  }
  // After a failure: closes the store and expects that nothing has completed since.
  void ExpectNothingAfterTheFailure() {
    // Whatever may be asked of it.
    Append(chain_.Puts(Term(1), 1));
    store_->Read({.id = 78, .first = Index(1), .bytes_max = 1});
    store_->Trim(Index(1));
    store_.reset();  // what would complete has completed
    EXPECT_EQ(events_->template All<StorageFailed>().size(), 1u);
    EXPECT_TRUE(std::holds_alternative<StorageFailed>(events_->events().back()));
  }
  // After the store was closed: a new one has all entries of `written` up to what was persisted,
  // and none that differs.
  LogRecovery ExpectPersistedSurvived(const std::vector<LogPoint>& written, Index persisted) {
    const LogRecovery recovery = Open();
    const Index last = recovery.last.at.index;
    EXPECT_GE(last, persisted);
    EXPECT_LE(last.value(), written.size());
    EXPECT_LE(recovery.acknowledged, last);
    if (last.value() > written.size() || last == Index(0)) return recovery;
    EXPECT_EQ(recovery.last, written[last.value() - 1]);
    EXPECT_EQ(
        PointsOf(Read(Index(1), size_t{1} << 30)),
        std::vector<LogPoint>(written.begin(), written.begin() + static_cast<long>(last.value())));
    return recovery;
  }

  uint64_t LastPersisted() const {
    const std::vector<Persisted> persisted = events_->template All<Persisted>();
    return persisted.empty() ? 0 : persisted.back().id;
  }
  void AwaitPersisted(uint64_t id) {
    ASSERT_TRUE(world_.WaitUntil(*events_, [id](const std::vector<Event>& events) {
      const auto persisted = EventLog::AllOf<Persisted>(events);
      return !persisted.empty() && persisted.back().id >= id;
    }));
  }
  std::vector<EntryPtr> Read(Index first, size_t bytes_max) {
    const size_t before = events_->template All<LogReadDone>().size();
    store_->Read({.id = 77, .first = first, .bytes_max = bytes_max});
    return AwaitRead(before);
  }
  // The answer to the read with so many answers before it.
  std::vector<EntryPtr> AwaitRead(size_t before) {
    EXPECT_TRUE(world_.WaitUntil(*events_, [before](const std::vector<Event>& events) {
      return EventLog::AllOf<LogReadDone>(events).size() > before ||
             !EventLog::AllOf<StorageFailed>(events).empty();
    }));
    const std::vector<LogReadDone> reads = events_->template All<LogReadDone>();
    if (reads.size() <= before) {
      ADD_FAILURE() << "the read failed";
      return {};
    }
    return reads[before].entries;
  }
  void AwaitFirstIndex(Index first) {
    // A trim completes without an event; a read behind it, and a write, come after it.
    for (int i = 0; i < 100 && store_->FirstIndex() < first; ++i) {
      Read(first, 1);
      AwaitPersisted(Write({.hard_state = HardState{.term = Term(9)}}));
    }
    EXPECT_EQ(store_->FirstIndex(), first);
  }

  World world_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<LogStore> store_;  // posts to events_
  uint64_t next_id_ = 1;
  EntryChain chain_;
};

TYPED_TEST_SUITE_P(LogStoreContract);

TYPED_TEST_P(LogStoreContract, ANewLogIsEmptyAndHasTheInitialMembership) {
  const LogRecovery recovery = this->Open(MembershipOf("n1"));
  EXPECT_EQ(recovery.base.point, LogPoint{});
  EXPECT_EQ(recovery.base.membership, MembershipOf("n1"));
  EXPECT_EQ(recovery.hard_state, HardState{});
  EXPECT_EQ(recovery.last, LogPoint{});
  EXPECT_TRUE(recovery.tail.empty());
  EXPECT_EQ(recovery.acknowledged, Index(0));
  EXPECT_EQ(this->store_->FirstIndex(), Index(1));
}

TYPED_TEST_P(LogStoreContract, WhatWasPersistedSurvivesARestart) {
  this->Open(MembershipOf("n1"));
  const HardState hard_state{.term = Term(3), .vote = NodeId(7), .commit = Index(0)};
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(3), 5);
  this->AwaitPersisted(this->Write({.hard_state = hard_state, .entries = entries}));

  const LogRecovery recovery = this->Open(MembershipOf("another"));
  EXPECT_EQ(recovery.base.membership, MembershipOf("n1"));
  EXPECT_EQ(recovery.hard_state, hard_state);
  EXPECT_EQ(recovery.last, this->chain_.last());
  EXPECT_EQ(PointsOf(recovery.tail), PointsOf(entries));
  EXPECT_EQ(recovery.tail.at(2)->frame(), entries[2]->frame());
  EXPECT_EQ(recovery.acknowledged, Index(5));
}

TYPED_TEST_P(LogStoreContract, AVoteWithoutEntriesSurvivesARestart) {
  this->Open();
  const HardState vote{.term = Term(8), .vote = NodeId(2)};
  this->AwaitPersisted(this->Write({.hard_state = vote}));
  EXPECT_EQ(this->Open().hard_state, vote);
}

TYPED_TEST_P(LogStoreContract, TheTailBeginsAfterTheKnownCommit) {
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 10);
  const HardState hard_state{.term = Term(1), .commit = Index(6)};
  this->AwaitPersisted(this->Write({.hard_state = hard_state, .entries = entries}));
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.tail_base, entries[5]->point());
  ASSERT_EQ(recovery.tail.size(), 4u);
  EXPECT_EQ(recovery.tail.front()->index(), Index(7));
  EXPECT_EQ(recovery.last, this->chain_.last());
}

TYPED_TEST_P(LogStoreContract, CompletionsComeInOrder) {
  this->Open();
  this->Write({.hard_state = HardState{.term = Term(1)}});
  uint64_t last = 0;
  for (int i = 0; i < 200; ++i) last = this->Append(this->chain_.Puts(Term(1), 1));
  this->AwaitPersisted(last);
  uint64_t previous = 0;
  for (const Persisted& persisted : this->events_->template All<Persisted>()) {
    EXPECT_GT(persisted.id, previous);
    previous = persisted.id;
  }
  EXPECT_EQ(previous, last);
}

TYPED_TEST_P(LogStoreContract, LossOfPowerLeavesAPrefixWithAllThatWasPersisted) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  this->Open();
  std::vector<LogPoint> points;
  std::vector<Index> last_of_write = {Index(0)};
  this->AppendInTerm(Term(1), {});
  last_of_write.push_back(Index(0));
  for (int i = 0; i < 300; ++i) {
    const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 2, 500);
    for (const EntryPtr& entry : entries) points.push_back(entry->point());
    const uint64_t id = this->Append(entries);
    last_of_write.push_back(entries.back()->index());
    if (i == 100) this->AwaitPersisted(id);
  }
  this->world_.LosePower();
  const uint64_t persisted = this->LastPersisted();
  ASSERT_GE(persisted, 100u);
  const LogRecovery recovery = this->Open();
  EXPECT_GE(recovery.last.at.index, last_of_write[persisted]);
  EXPECT_EQ(recovery.last, points[recovery.last.at.index.value() - 1]);
  EXPECT_LE(recovery.acknowledged, recovery.last.at.index);
  // Whole writes only.
  EXPECT_EQ(recovery.last.at.index.value() % 2, 0u);
}

TYPED_TEST_P(LogStoreContract, TruncationAndReplacementAreOneWrite) {
  this->Open();
  const std::vector<EntryPtr> old_entries = this->chain_.Puts(Term(1), 10);
  this->AwaitPersisted(this->AppendInTerm(Term(1), old_entries));
  EntryChain other(old_entries[3]->point());
  const std::vector<EntryPtr> replacement = other.Puts(Term(2), 2);
  this->AwaitPersisted(this->Write({.hard_state = HardState{.term = Term(2)},
                                    .truncate_from = Index(5),
                                    .entries = replacement}));
  EXPECT_EQ(PointsOf(this->Read(Index(5), 1 << 20)), PointsOf(replacement));
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.last, other.last());
  EXPECT_EQ(recovery.last.at.index, Index(6));
  EXPECT_EQ(recovery.acknowledged, Index(6));
  EXPECT_EQ(recovery.hard_state.term, Term(2));
  // And the log goes on from there.
  const std::vector<EntryPtr> more = other.Puts(Term(2), 8);
  this->AwaitPersisted(this->Append(more));
  EXPECT_EQ(this->Open().last, other.last());
}

TYPED_TEST_P(LogStoreContract, TruncationAloneShortensTheLog) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 10);
  this->AwaitPersisted(this->AppendInTerm(Term(1), entries));
  this->AwaitPersisted(this->Write({.truncate_from = Index(4)}));
  this->world_.LosePower();
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.last, entries[2]->point());
  EXPECT_EQ(recovery.acknowledged, Index(3));
}

TYPED_TEST_P(LogStoreContract, AReadSeesEveryWriteIssuedBefore) {
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 50);
  this->AppendInTerm(Term(1), {});
  for (const EntryPtr& entry : entries) this->Append({entry});
  EXPECT_EQ(PointsOf(this->Read(Index(1), 1 << 20)), PointsOf(entries));
}

TYPED_TEST_P(LogStoreContract, AReadStopsAtItsLimitButHasTwoEntries) {
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 10, 1000);
  this->AppendInTerm(Term(1), entries);
  EXPECT_EQ(this->Read(Index(4), 1).size(), 2u);
  EXPECT_EQ(this->Read(Index(10), 1).size(), 1u);
  EXPECT_EQ(this->Read(Index(4), 3 * entries[3]->bytes()).size(), 3u);
  EXPECT_EQ(this->Read(Index(4), 3 * entries[3]->bytes() - 1).size(), 2u);
  EXPECT_EQ(this->Read(Index(9), 1 << 20).size(), 2u);
}

TYPED_TEST_P(LogStoreContract, AReadIssuedBeforeATruncationSeesWhatIsCut) {
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 20);
  this->AppendInTerm(Term(1), entries);
  this->store_->Read({.id = 1, .first = Index(10), .bytes_max = 1 << 20});
  EntryChain other(entries[4]->point());
  const uint64_t id = this->Write({.truncate_from = Index(6), .entries = other.Puts(Term(2), 1)});
  const std::vector<EntryPtr> read = this->AwaitRead(0);
  ASSERT_FALSE(read.empty());
  EXPECT_EQ(read.front()->point(), entries[9]->point());
  this->AwaitPersisted(id);
}

TYPED_TEST_P(LogStoreContract, TrimMovesTheBaseAndNothingAboveIt) {
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 20);
  this->AwaitPersisted(this->AppendInTerm(Term(1), entries));
  this->store_->Trim(Index(12));
  this->AwaitFirstIndex(Index(13));
  this->store_->Trim(Index(5));  // ignored
  EXPECT_EQ(PointsOf(this->Read(Index(13), 1 << 20)).front(), entries[12]->point());
  EXPECT_EQ(this->store_->FirstIndex(), Index(13));
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base.point, entries[11]->point());
  EXPECT_EQ(recovery.base.membership, MembershipOf("n1"));
  EXPECT_EQ(recovery.last, this->chain_.last());
  EXPECT_EQ(recovery.tail.size(), 8u);
  EXPECT_EQ(this->store_->FirstIndex(), Index(13));
}

TYPED_TEST_P(LogStoreContract, ALogThatIsTrimmedWholeGoesOn) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 3);
  this->AwaitPersisted(this->AppendInTerm(Term(1), entries));
  this->store_->Trim(Index(3));
  const std::vector<EntryPtr> more = this->chain_.Puts(Term(1), 2);
  this->AwaitPersisted(this->Append(more));
  this->AwaitFirstIndex(Index(4));
  this->world_.LosePower();
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base.point, entries[2]->point());
  EXPECT_EQ(PointsOf(recovery.tail), PointsOf(more));
}

TYPED_TEST_P(LogStoreContract, ATornTailIsCutAndNothingElse) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  std::vector<LogPoint> points;
  this->Open();
  this->AwaitPersisted(this->AppendInTerm(Term(1), {}));
  // Each time some entries are durable and more are on their way.
  for (const TornTail& tail :
       {TornTail{}, TornTail{.sound_bytes = 1}, TornTail{.sound_bytes = 777},
        TornTail{.garbage_bytes = 3}, TornTail{.sound_bytes = 400, .garbage_bytes = 5000},
        TornTail{.sound_bytes = 6000, .garbage_bytes = 200}}) {
    Index persisted;
    for (int i = 0; i < 20; ++i) {
      const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 1, 600);
      points.push_back(entries.back()->point());
      const uint64_t id = this->Append(entries);
      if (i != 10) continue;
      this->AwaitPersisted(id);
      persisted = entries.back()->index();
    }
    this->world_.LosePower(tail);
    const LogRecovery recovery = this->ExpectPersistedSurvived(points, persisted);
    // And the log goes on from where it ends.
    points.resize(recovery.last.at.index.value());
    this->chain_ = EntryChain(recovery.last);
  }
}

TYPED_TEST_P(LogStoreContract, AfterAFailedSyncNothingCompletes) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanFailSyncs);
  this->Open();
  std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 3);
  this->AwaitPersisted(this->AppendInTerm(Term(1), entries));
  this->world_.FailSyncs();
  const uint64_t persisted = this->LastPersisted();
  entries = this->chain_.Puts(Term(1), 3);
  this->Append({entries[0]});
  this->Append({entries[1], entries[2]});
  this->AwaitFailure();
  EXPECT_EQ(this->LastPersisted(), persisted);
  this->ExpectNothingAfterTheFailure();
  EXPECT_GE(this->Open().last.at.index, Index(3));
}

TYPED_TEST_P(LogStoreContract, AHungSyncDelaysAndLosesNothing) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanHang);
  this->Open();
  std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 3);
  this->AwaitPersisted(this->AppendInTerm(Term(1), entries));
  this->world_.HangSyncs();
  uint64_t last = 0;
  for (int i = 0; i < 50; ++i) {
    entries.push_back(this->chain_.Puts(Term(1), 1).front());
    last = this->Append({entries.back()});
  }
  ASSERT_TRUE(this->world_.AwaitHang());
  EXPECT_EQ(this->LastPersisted(), 1u);
  this->world_.ReleaseSyncs();
  this->AwaitPersisted(last);
  uint64_t previous = 0;
  for (const Persisted& persisted : this->events_->template All<Persisted>()) {
    EXPECT_GT(persisted.id, previous);
    previous = persisted.id;
  }
  EXPECT_TRUE(this->events_->template All<StorageFailed>().empty());
  this->ExpectPersistedSurvived(PointsOf(entries), entries.back()->index());
}

TYPED_TEST_P(LogStoreContract, WhatHungWhenThePowerWentWasNeverPersisted) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanHang && TypeParam::kCanLosePower);
  this->Open();
  const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 3);
  this->AwaitPersisted(this->AppendInTerm(Term(1), entries));
  this->world_.HangSyncs();
  const std::vector<EntryPtr> more = this->chain_.Puts(Term(1), 5);
  this->Append(more);
  ASSERT_TRUE(this->world_.AwaitHang());
  this->world_.LosePower();
  this->store_.reset();
  EXPECT_EQ(this->LastPersisted(), 1u);
  // What hung may have reached the disk; nobody was told so.
  std::vector<EntryPtr> written = entries;
  written.insert(written.end(), more.begin(), more.end());
  this->ExpectPersistedSurvived(PointsOf(written), Index(3));
}

TYPED_TEST_P(LogStoreContract, AFullDiskStopsItAndLosesNothingAcknowledged) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanRunFull);
  this->Open();
  std::vector<LogPoint> points;
  std::vector<Index> last_of_write = {Index(0), Index(0)};
  this->AwaitPersisted(this->AppendInTerm(Term(1), {}));
  this->world_.SetFreeBytes(30'000);
  for (int i = 0; i < 100; ++i) {
    const std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 1, 900);
    points.push_back(entries.back()->point());
    last_of_write.push_back(entries.back()->index());
    this->Append(entries);
  }
  this->AwaitFailure();
  const uint64_t persisted = this->LastPersisted();
  this->world_.SetFreeBytes(std::nullopt);  // too late for this store (R7)
  this->ExpectNothingAfterTheFailure();
  const LogRecovery recovery = this->ExpectPersistedSurvived(points, last_of_write.at(persisted));
  this->chain_ = EntryChain(recovery.last);
  const std::vector<EntryPtr> more = this->chain_.Puts(Term(1), 3);
  this->AwaitPersisted(this->Append(more));
  EXPECT_EQ(this->Open().last, this->chain_.last());
}

REGISTER_TYPED_TEST_SUITE_P(
    LogStoreContract, ANewLogIsEmptyAndHasTheInitialMembership, WhatWasPersistedSurvivesARestart,
    AVoteWithoutEntriesSurvivesARestart, TheTailBeginsAfterTheKnownCommit, CompletionsComeInOrder,
    LossOfPowerLeavesAPrefixWithAllThatWasPersisted, TruncationAndReplacementAreOneWrite,
    TruncationAloneShortensTheLog, AReadSeesEveryWriteIssuedBefore,
    AReadStopsAtItsLimitButHasTwoEntries, AReadIssuedBeforeATruncationSeesWhatIsCut,
    TrimMovesTheBaseAndNothingAboveIt, ALogThatIsTrimmedWholeGoesOn, ATornTailIsCutAndNothingElse,
    AfterAFailedSyncNothingCompletes, AHungSyncDelaysAndLosesNothing,
    WhatHungWhenThePowerWentWasNeverPersisted, AFullDiskStopsItAndLosesNothingAcknowledged);

}  // namespace skein
