// What every LogStore must keep, as a suite over a World: one node's disk, on which stores are
// opened one after the other. Instantiate it with INSTANTIATE_TYPED_TEST_SUITE_P. A World has
//
//   absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const Membership& initial);
//   void LosePower();  // with a store open: what is not durable is gone. Then close it, open anew.
//   bool WaitUntil(const EventLog& log, const std::function<bool(const std::vector<Event>&)>&
//   done);
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "replication/log_store.h"
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

REGISTER_TYPED_TEST_SUITE_P(LogStoreContract, ANewLogIsEmptyAndHasTheInitialMembership,
                            WhatWasPersistedSurvivesARestart, AVoteWithoutEntriesSurvivesARestart,
                            TheTailBeginsAfterTheKnownCommit, CompletionsComeInOrder,
                            LossOfPowerLeavesAPrefixWithAllThatWasPersisted,
                            TruncationAndReplacementAreOneWrite, TruncationAloneShortensTheLog,
                            AReadSeesEveryWriteIssuedBefore, AReadStopsAtItsLimitButHasTwoEntries,
                            AReadIssuedBeforeATruncationSeesWhatIsCut,
                            TrimMovesTheBaseAndNothingAboveIt, ALogThatIsTrimmedWholeGoesOn);

}  // namespace skein
