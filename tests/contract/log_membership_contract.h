// What every LogStore must keep of the memberships in it, as a suite over the World of
// log_store_contract.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/contract/log_store_contract.h"

namespace skein {

template <typename World>
class LogMembershipContract : public LogStoreContract<World> {
 protected:
  using Changes = std::vector<MembershipAt>;

  // 12 entries, of which 3, 6 and 9 change the membership. Durable; returns what the log should
  // know of them.
  Changes WriteHistory() {
    Changes changes;
    std::vector<EntryPtr> entries;
    for (uint64_t index = 1; index <= 12; ++index) {
      if (index % 3 != 0 || index == 12) {
        entries.push_back(this->chain_.Put(Term(1), "k", "v"));
        continue;
      }
      changes.push_back({Index(index), MembersNamed({"n1", "n" + std::to_string(index)})});
      entries.push_back(this->chain_.Change(Term(1), changes.back().membership));
    }
    points_ = PointsOf(entries);
    this->AwaitPersisted(this->AppendInTerm(Term(1), std::move(entries)));
    return changes;
  }

  std::vector<LogPoint> points_;
};

TYPED_TEST_SUITE_P(LogMembershipContract);

TYPED_TEST_P(LogMembershipContract, ChangesAreListedInOrderCommittedOrNot) {
  this->Open();
  const auto changes = this->WriteHistory();
  EXPECT_EQ(this->Open().memberships, changes);
  this->AwaitPersisted(this->Write({.hard_state = HardState{.term = Term(1), .commit = Index(7)}}));
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.memberships, changes);
  EXPECT_EQ(recovery.base.membership, MembershipOf("n1"));
  EXPECT_EQ(recovery.tail.size(), 5u);
}

TYPED_TEST_P(LogMembershipContract, ATruncatedChangeIsForgotten) {
  this->Open();
  auto changes = this->WriteHistory();
  EntryChain other(this->points_[6]);
  changes.resize(2);
  changes.push_back({Index(8), MembersNamed({"n8"})});
  const std::vector<EntryPtr> replacement = {other.Change(Term(2), changes.back().membership),
                                             other.Put(Term(2), "k", "v")};
  this->AwaitPersisted(this->Write({.hard_state = HardState{.term = Term(2)},
                                    .truncate_from = Index(8),
                                    .entries = replacement}));
  EXPECT_EQ(this->Open().memberships, changes);
  this->AwaitPersisted(this->Write({.truncate_from = Index(6)}));
  changes.resize(1);
  EXPECT_EQ(this->Open().memberships, changes);
}

TYPED_TEST_P(LogMembershipContract, TrimCarriesTheNewestOneIntoTheBase) {
  this->Open();
  auto changes = this->WriteHistory();
  this->store_->Trim(Index(2));
  this->AwaitFirstIndex(Index(3));
  LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base.membership, MembershipOf("n1"));
  EXPECT_EQ(recovery.memberships, changes);
  this->store_->Trim(Index(6));
  this->AwaitFirstIndex(Index(7));
  recovery = this->Open();
  EXPECT_EQ(recovery.base.membership, changes[1].membership);
  changes.erase(changes.begin(), changes.begin() + 2);
  EXPECT_EQ(recovery.memberships, changes);
  this->store_->Trim(Index(8));
  this->AwaitFirstIndex(Index(9));
  EXPECT_EQ(this->Open().base.membership, MembersNamed({"n1", "n6"}));
}

TYPED_TEST_P(LogMembershipContract, ATrimSeesTheChangesOfTheSameRun) {
  this->Open();
  const auto changes = this->WriteHistory();
  this->store_->Trim(Index(10));
  this->AwaitFirstIndex(Index(11));
  const LogRecovery recovery = this->Open();
  EXPECT_EQ(recovery.base.membership, changes.back().membership);
  EXPECT_TRUE(recovery.memberships.empty());
}

TYPED_TEST_P(LogMembershipContract, ChangesSurviveALossOfPower) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  this->Open();
  const auto changes = this->WriteHistory();
  this->world_.LosePower();
  EXPECT_EQ(this->Open().memberships, changes);
}

REGISTER_TYPED_TEST_SUITE_P(LogMembershipContract, ChangesAreListedInOrderCommittedOrNot,
                            ATruncatedChangeIsForgotten, TrimCarriesTheNewestOneIntoTheBase,
                            ATrimSeesTheChangesOfTheSameRun, ChangesSurviveALossOfPower);

}  // namespace skein
