// What every LogStore must keep of LogWrite::reset, as a suite over the World of
// log_store_contract.h.
#pragma once

#include <utility>
#include <vector>

#include "tests/contract/log_store_contract.h"

namespace skein {

template <typename World>
class LogResetContract : public LogStoreContract<World> {
 protected:
  // 20 durable entries of term 1, one of which changes the membership.
  std::vector<EntryPtr> WriteHistory() {
    std::vector<EntryPtr> entries = this->chain_.Puts(Term(1), 9);
    entries.push_back(this->chain_.Change(Term(1), MembersNamed({"n1", "n2"})));
    for (EntryPtr& entry : this->chain_.Puts(Term(1), 10)) entries.push_back(std::move(entry));
    this->AwaitPersisted(this->AppendInTerm(Term(1), entries));
    return entries;
  }
  // What a snapshot of another history stands for, which `other_` goes on from.
  LogBase SnapshotAt(uint64_t index) {
    other_ = EntryChain();
    other_.Puts(Term(2), static_cast<int>(index));
    return {other_.last(), MembersNamed({"n3", "n4"})};
  }
  // The log is empty then, and begins after that point.
  void ExpectResetTo(uint64_t index) {
    this->Open();
    WriteHistory();
    const LogBase base = SnapshotAt(index);
    const HardState hard_state{.term = Term(2), .vote = NodeId(3)};
    this->AwaitPersisted(this->Write({.hard_state = hard_state, .reset = base}));
    EXPECT_EQ(this->store_->FirstIndex(), Index(index + 1));
    const LogRecovery recovery = this->Open();
    EXPECT_EQ(recovery.base, base);
    EXPECT_EQ(recovery.last, base.point);
    EXPECT_EQ(recovery.tail_base, base.point);
    EXPECT_TRUE(recovery.tail.empty());
    EXPECT_TRUE(recovery.memberships.empty());
    EXPECT_EQ(recovery.hard_state, hard_state);
    EXPECT_EQ(recovery.acknowledged, Index(index));
    EXPECT_EQ(recovery.earlier_bytes, 0u);
    EXPECT_EQ(this->store_->FirstIndex(), Index(index + 1));
  }

  EntryChain other_;
};

TYPED_TEST_SUITE_P(LogResetContract);

TYPED_TEST_P(LogResetContract, AnotherHistoryCanBeginAmidTheOld) { this->ExpectResetTo(15); }
TYPED_TEST_P(LogResetContract, AnotherHistoryCanBeginAtTheEndOfTheOld) { this->ExpectResetTo(20); }
TYPED_TEST_P(LogResetContract, AnotherHistoryCanBeginBeyondTheOld) { this->ExpectResetTo(50); }

TYPED_TEST_P(LogResetContract, EntriesOfTheSameWriteFollow) {
  this->Open();
  this->WriteHistory();
  const LogBase base = this->SnapshotAt(12);
  std::vector<EntryPtr> entries = this->other_.Puts(Term(2), 2);
  entries.push_back(this->other_.Change(Term(2), MembersNamed({"n5"})));
  this->AwaitPersisted(
      this->Write({.hard_state = HardState{.term = Term(2)}, .reset = base, .entries = entries}));
  EXPECT_EQ(PointsOf(this->Read(Index(13), 1 << 20)), PointsOf(entries));
  LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base, base);
  EXPECT_EQ(PointsOf(recovery.tail), PointsOf(entries));
  EXPECT_EQ(recovery.acknowledged, Index(15));
  ASSERT_EQ(recovery.memberships.size(), 1u);
  EXPECT_EQ(recovery.memberships[0], (MembershipAt{Index(15), MembersNamed({"n5"})}));
  // And the log goes on, past where the old one ended.
  for (EntryPtr& entry : this->other_.Puts(Term(2), 10)) {
    entries.push_back(entry);
    this->AwaitPersisted(this->Append({std::move(entry)}));
  }
  EXPECT_EQ(PointsOf(this->Open().tail), PointsOf(entries));
}

TYPED_TEST_P(LogResetContract, ItSurvivesALossOfPower) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  this->Open();
  this->WriteHistory();
  const LogBase base = this->SnapshotAt(12);
  const std::vector<EntryPtr> entries = this->other_.Puts(Term(2), 3);
  this->Write({.hard_state = HardState{.term = Term(2)}, .reset = base});
  this->AwaitPersisted(this->Append(entries));
  this->world_.LosePower();
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base, base);
  EXPECT_EQ(PointsOf(recovery.tail), PointsOf(entries));
  EXPECT_EQ(recovery.acknowledged, Index(15));
}

TYPED_TEST_P(LogResetContract, AnEmptyLogCanBegin) {
  this->Open();
  const LogBase base = this->SnapshotAt(30);
  this->AwaitPersisted(this->Write({.reset = base}));
  LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base, base);
  EXPECT_EQ(recovery.last, base.point);
  EXPECT_EQ(recovery.hard_state, HardState{});
  this->AwaitPersisted(this->AppendInTerm(Term(2), this->other_.Puts(Term(2), 1)));
  EXPECT_EQ(this->Open().last, this->other_.last());
}

TYPED_TEST_P(LogResetContract, WritesBeforeAndAfterKeepTheirOrder) {
  this->Open();
  this->AppendInTerm(Term(1), {});
  for (EntryPtr& entry : this->chain_.Puts(Term(1), 50)) this->Append({std::move(entry)});
  const LogBase base = this->SnapshotAt(40);
  const uint64_t reset = this->Write({.hard_state = HardState{.term = Term(2)}, .reset = base});
  uint64_t last = 0;
  for (EntryPtr& entry : this->other_.Puts(Term(2), 30)) last = this->Append({std::move(entry)});
  this->AwaitPersisted(last);
  EXPECT_LT(reset, last);
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base, base);
  EXPECT_EQ(recovery.last, this->other_.last());
}

TYPED_TEST_P(LogResetContract, AReadIssuedBeforeSeesWhatIsDropped) {
  this->Open();
  const std::vector<EntryPtr> entries = this->WriteHistory();
  this->store_->Read({.id = 1, .first = Index(5), .bytes_max = 1 << 20});
  const LogBase base = this->SnapshotAt(12);
  const uint64_t id = this->Write({.reset = base, .entries = this->other_.Puts(Term(2), 5)});
  const std::vector<EntryPtr> read = this->AwaitRead(0);
  ASSERT_EQ(read.size(), 16u);
  EXPECT_EQ(read.front()->point(), entries[4]->point());
  EXPECT_EQ(read.back()->point(), entries[19]->point());
  this->AwaitPersisted(id);
  EXPECT_EQ(this->Read(Index(13), 1 << 20).back()->point(), this->other_.last());
}

TYPED_TEST_P(LogResetContract, ATrimFromBeforeDoesNotSetTheBaseBack) {
  this->Open();
  this->WriteHistory();
  const LogBase base = this->SnapshotAt(30);
  this->store_->Trim(Index(10));
  this->Write({.hard_state = HardState{.term = Term(2)}, .reset = base});
  this->store_->Trim(Index(12));
  const std::vector<EntryPtr> entries = this->other_.Puts(Term(2), 10);
  this->Append(entries);
  EXPECT_EQ(PointsOf(this->Read(Index(31), 1 << 20)), PointsOf(entries));
  // A trim takes effect with a write that follows it.
  this->AwaitPersisted(this->Write({.hard_state = HardState{.term = Term(3)}}));
  EXPECT_EQ(this->store_->FirstIndex(), Index(31));
  EXPECT_EQ(this->Open().base, base);
  this->store_->Trim(Index(35));
  this->AwaitFirstIndex(Index(36));
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base.point, entries[4]->point());
  EXPECT_EQ(recovery.base.membership, base.membership);
}

TYPED_TEST_P(LogResetContract, OneResetFollowsAnother) {
  this->Open();
  this->WriteHistory();
  this->Write({.hard_state = HardState{.term = Term(2)}, .reset = this->SnapshotAt(15)});
  this->Append(this->other_.Puts(Term(2), 10));
  EntryChain third;
  third.Puts(Term(3), 40);
  const LogBase base{third.last(), MembersNamed({"n7"})};
  this->AwaitPersisted(this->Write({.hard_state = HardState{.term = Term(3)}, .reset = base}));
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base, base);
  EXPECT_EQ(recovery.last, base.point);
}

REGISTER_TYPED_TEST_SUITE_P(LogResetContract, AnotherHistoryCanBeginAmidTheOld,
                            AnotherHistoryCanBeginAtTheEndOfTheOld,
                            AnotherHistoryCanBeginBeyondTheOld, EntriesOfTheSameWriteFollow,
                            ItSurvivesALossOfPower, AnEmptyLogCanBegin,
                            WritesBeforeAndAfterKeepTheirOrder, AReadIssuedBeforeSeesWhatIsDropped,
                            ATrimFromBeforeDoesNotSetTheBaseBack, OneResetFollowsAnother);

}  // namespace skein
