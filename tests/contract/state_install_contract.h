// What every StateMachine must keep of Install, as a suite over the World of
// state_machine_contract.h. Beside what that asks for a World has
//
//   // Brings a snapshot of all that `source`, opened on the world `from`, has applied to this
//   world,
//   // ready for Install on `target`.
//   absl::StatusOr<LogBase> Fetch(World& from, StateMachine& source, StateMachine& target);
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "tests/contract/state_machine_contract.h"

namespace skein {

template <typename World>
class StateInstallContract : public StateMachineContract<World> {
 protected:
  // Another node's state, with 150 entries of the history; returns all 201 of it.
  std::vector<EntryPtr> MakeSource() {
    std::vector<EntryPtr> entries = this->History();
    auto state = source_world_.OpenState();
    EXPECT_TRUE(state.ok()) << state.status();
    source_ = *std::move(state);
    source_->Start(&source_events_);
    ApplyToSource({entries.begin(), entries.begin() + 150});
    return entries;
  }
  void ApplyToSource(std::vector<EntryPtr> entries) {
    const Index last = entries.back()->index();
    source_->Apply(std::move(entries));
    ASSERT_TRUE(source_world_.WaitUntil(source_events_, [last](const std::vector<Event>& events) {
      const auto applied = EventLog::AllOf<Applied>(events);
      return !applied.empty() && applied.back().index == last;
    }));
  }
  LogBase Fetch() {
    const absl::StatusOr<LogBase> base = this->world_.Fetch(source_world_, *source_, *this->state_);
    EXPECT_TRUE(base.ok()) << base.status();
    return base.ok() ? *base : LogBase{};
  }
  // Waits for so many answers to Install; returns the last one.
  absl::StatusOr<LogBase> AwaitInstalled(size_t count = 1) {
    EXPECT_TRUE(this->world_.WaitUntil(*this->events_, [count](const std::vector<Event>& events) {
      return EventLog::AllOf<Installed>(events).size() >= count ||
             !EventLog::AllOf<StorageFailed>(events).empty();
    }));
    const auto installed = this->events_->template All<Installed>();
    return installed.empty() ? absl::InternalError("nothing was installed") : installed.back().base;
  }

  World source_world_;
  EventLog source_events_;
  std::unique_ptr<StateMachine> source_;
};

TYPED_TEST_SUITE_P(StateInstallContract);

TYPED_TEST_P(StateInstallContract, TheStateIsThatOfTheSourceAndGoesOn) {
  const std::vector<EntryPtr> entries = this->MakeSource();
  this->Open();
  const LogBase base = this->Fetch();
  EXPECT_EQ(base.point, entries[149]->point());
  this->state_->Install(base);
  const absl::StatusOr<LogBase> installed = this->AwaitInstalled();
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_EQ(*installed, base);
  EXPECT_EQ(this->world_.Digest(*this->state_), this->source_world_.Digest(*this->source_));
  const std::vector<EntryPtr> rest(entries.begin() + 150, entries.end());
  this->ApplyToSource(rest);
  this->state_->Apply(rest);
  this->AwaitApplied(entries.back()->index());
  EXPECT_EQ(this->world_.Digest(*this->state_), this->source_world_.Digest(*this->source_));
}

TYPED_TEST_P(StateInstallContract, WhatWasAskedForBeforeIsAppliedBefore) {
  const std::vector<EntryPtr> entries = this->MakeSource();
  this->Open();
  const LogBase base = this->Fetch();
  this->state_->Apply({entries.begin(), entries.begin() + 70});
  this->state_->Install(base);
  ASSERT_TRUE(this->AwaitInstalled().ok());
  this->state_->Apply({entries.begin() + 150, entries.end()});
  this->AwaitApplied(entries.back()->index());
  bool installed = false;
  Index applied;
  for (const Event& event : this->events_->events()) {
    if (const Applied* some = std::get_if<Applied>(&event)) {
      EXPECT_EQ(some->index <= Index(70), !installed);
      EXPECT_GT(some->index, applied);
      applied = some->index;
    }
    if (std::holds_alternative<Installed>(event)) {
      EXPECT_EQ(applied, Index(70));
      installed = true;
    }
  }
  EXPECT_TRUE(installed);
}

TYPED_TEST_P(StateInstallContract, ItIsDurableWhenItIsTold) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  const std::vector<EntryPtr> entries = this->MakeSource();
  this->Open();
  this->state_->Apply({entries.begin(), entries.begin() + 50});
  const LogBase base = this->Fetch();
  this->state_->Install(base);
  ASSERT_TRUE(this->AwaitInstalled().ok());
  this->world_.LosePower();
  EXPECT_EQ(this->Open(), base.point);
  EXPECT_EQ(this->world_.Digest(*this->state_), this->source_world_.Digest(*this->source_));
}

TYPED_TEST_P(StateInstallContract, WithoutASnapshotTheOldStateStays) {
  const std::vector<EntryPtr> entries = this->MakeSource();
  this->Open();
  this->state_->Apply({entries.begin(), entries.begin() + 70});
  // Nothing was fetched; then something else was.
  const LogBase missing{entries[149]->point(), {}};
  this->state_->Install(missing);
  EXPECT_FALSE(this->AwaitInstalled().ok());
  this->ApplyToSource({entries[150]});
  this->Fetch();
  this->state_->Install(missing);
  EXPECT_FALSE(this->AwaitInstalled(2).ok());
  // The old state goes on.
  this->state_->Apply({entries.begin() + 70, entries.begin() + 151});
  this->AwaitApplied(entries[150]->index());
  EXPECT_EQ(this->events_->template All<Applied>().back().index, entries[150]->index());
  EXPECT_EQ(this->world_.Digest(*this->state_), this->source_world_.Digest(*this->source_));
  EXPECT_TRUE(this->events_->template All<StorageFailed>().empty());
}

TYPED_TEST_P(StateInstallContract, TheStateIsNeverSetBack) {
  const std::vector<EntryPtr> entries = this->MakeSource();
  this->Open();
  const LogBase base = this->Fetch();
  this->state_->Apply({entries.begin(), entries.begin() + 151});
  this->state_->Install(base);
  EXPECT_FALSE(this->AwaitInstalled().ok());
  this->state_->Apply({entries.begin() + 151, entries.end()});
  this->AwaitApplied(entries.back()->index());
}

// Of a node whose log has lost its end.
TYPED_TEST_P(StateInstallContract, TheSameStateMayComeAgain) {
  const std::vector<EntryPtr> entries = this->MakeSource();
  this->Open();
  const LogBase base = this->Fetch();
  this->state_->Apply({entries.begin(), entries.begin() + 150});
  this->state_->Install(base);
  const absl::StatusOr<LogBase> installed = this->AwaitInstalled();
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_EQ(*installed, base);
  this->state_->Apply({entries.begin() + 150, entries.end()});
  this->AwaitApplied(entries.back()->index());
}

TYPED_TEST_P(StateInstallContract, OneInstallFollowsAnother) {
  const std::vector<EntryPtr> entries = this->MakeSource();
  this->Open();
  this->state_->Install(this->Fetch());
  ASSERT_TRUE(this->AwaitInstalled(1).ok());
  this->ApplyToSource({entries.begin() + 150, entries.end()});
  const LogBase base = this->Fetch();
  this->state_->Install(base);
  ASSERT_TRUE(this->AwaitInstalled(2).ok());
  EXPECT_EQ(this->world_.Digest(*this->state_), this->source_world_.Digest(*this->source_));
  EXPECT_EQ(this->Open(), base.point);
  EXPECT_EQ(this->world_.Digest(*this->state_), this->source_world_.Digest(*this->source_));
}

REGISTER_TYPED_TEST_SUITE_P(StateInstallContract, TheStateIsThatOfTheSourceAndGoesOn,
                            WhatWasAskedForBeforeIsAppliedBefore, ItIsDurableWhenItIsTold,
                            WithoutASnapshotTheOldStateStays, TheStateIsNeverSetBack,
                            TheSameStateMayComeAgain, OneInstallFollowsAnother);

}  // namespace skein
