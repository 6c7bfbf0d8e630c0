// What every StateMachine must keep, as a suite over a World (see world.h). Beside its faults a
// World has
//
//   absl::StatusOr<std::unique_ptr<StateMachine>> OpenState();
//   std::optional<std::string> Get(StateMachine& state, const std::string& key);
//   uint64_t Digest(StateMachine& state);
//   bool MakeDurable(StateMachine& state);  // asks for it; false: refused. StateDurable tells
//   bool WaitUntil(const EventLog& log, const std::function<bool(const std::vector<Event>&)>&
//   done);
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "replication/state_machine.h"
#include "tests/contract/world.h"
#include "tests/support/storage_entries.h"
#include "tests/support/storage_event_log.h"

namespace skein {

template <typename World>
class StateMachineContract : public testing::Test {
 protected:
  // Opens and starts the state with an event log of its own; returns what it recovered.
  LogPoint Open() {
    state_.reset();
    events_ = std::make_unique<EventLog>();
    auto state = world_.OpenState();
    EXPECT_TRUE(state.ok()) << state.status();
    state_ = *std::move(state);
    state_->Start(events_.get());
    return state_->Recovered();
  }
  void AwaitApplied(Index index) {
    ASSERT_TRUE(world_.WaitUntil(*events_, [index](const std::vector<Event>& events) {
      const auto applied = EventLog::AllOf<Applied>(events);
      return !applied.empty() && applied.back().index >= index;
    }));
  }
  absl::Status AwaitFailure() {
    EXPECT_TRUE(world_.WaitUntil(*events_, [](const std::vector<Event>& events) {
      return !EventLog::AllOf<StorageFailed>(events).empty();
    }));
    const auto failures = events_->template All<StorageFailed>();
    return failures.empty() ? absl::OkStatus() : failures.front().status;
  }
  // Some of the history is durable, the rest is applied; then the disk breaks by `fault`. Expects
  // that the state stops, and can be brought back from what is left and the log.
  template <typename Fault, typename Repair>
  void ExpectFailureIsFinalAndRepairable(Fault fault, Repair repair) {
    Open();
    const std::vector<EntryPtr> entries = History();
    state_->Apply({entries.begin(), entries.begin() + 100});
    AwaitApplied(Index(100));
    ASSERT_TRUE(world_.MakeDurable(*state_));
    state_->Apply({entries.begin() + 100, entries.begin() + 150});
    AwaitApplied(Index(150));
    fault();
    (void)world_.MakeDurable(*state_);
    state_->Apply({entries.begin() + 150, entries.end()});
    EXPECT_FALSE(AwaitFailure().ok());
    const size_t applied = events_->template All<Applied>().size();
    repair();  // too late for this state
    state_->Apply({chain_.NoOp(Term(1))});
    state_.reset();
    EXPECT_EQ(events_->template All<StorageFailed>().size(), 1u);
    EXPECT_EQ(events_->template All<Applied>().size(), applied);
    const LogPoint recovered = Open();
    ASSERT_GE(recovered.at.index, Index(100));
    ASSERT_LE(recovered.at.index.value(), entries.size());
    EXPECT_EQ(recovered, entries[recovered.at.index.value() - 1]->point());
    state_->Apply({entries.begin() + static_cast<long>(recovered.at.index.value()), entries.end()});
    AwaitApplied(entries.back()->index());
    World other_world;
    EventLog other_events;
    auto other = other_world.OpenState();
    ASSERT_TRUE(other.ok());
    (*other)->Start(&other_events);
    (*other)->Apply(entries);
    ASSERT_TRUE(other_world.WaitUntil(other_events, [&](const std::vector<Event>& events) {
      const auto all = EventLog::AllOf<Applied>(events);
      return !all.empty() && all.back().index == entries.back()->index();
    }));
    EXPECT_EQ(world_.Digest(*state_), other_world.Digest(**other));
  }
  // 200 entries that put and delete few keys over and over.
  std::vector<EntryPtr> History() {
    std::vector<EntryPtr> entries = {chain_.NoOp(Term(1))};
    for (int i = 0; i < 200; ++i) {
      const std::string key = "k" + std::to_string(i * i % 17);
      entries.push_back(i % 5 == 4 ? chain_.Delete(Term(1), key)
                                   : chain_.Put(Term(1), key, "v" + std::to_string(i)));
    }
    return entries;
  }

  World world_;
  std::unique_ptr<EventLog> events_;
  std::unique_ptr<StateMachine> state_;  // posts to events_
  EntryChain chain_;
};

TYPED_TEST_SUITE_P(StateMachineContract);

TYPED_TEST_P(StateMachineContract, ANewStateIsAtTheBeginning) {
  EXPECT_EQ(this->Open(), LogPoint{});
  EXPECT_EQ(this->world_.Get(*this->state_, "a"), std::nullopt);
}

TYPED_TEST_P(StateMachineContract, AnAppliedEntryIsVisible) {
  this->Open();
  this->state_->Apply({this->chain_.NoOp(Term(1)), this->chain_.Put(Term(1), "a", "1"),
                       this->chain_.Put(Term(1), "b", "")});
  this->AwaitApplied(Index(3));
  EXPECT_EQ(this->world_.Get(*this->state_, "a"), "1");
  EXPECT_EQ(this->world_.Get(*this->state_, "b"), "");
  EXPECT_EQ(this->world_.Get(*this->state_, "c"), std::nullopt);
  const Applied applied = this->events_->template All<Applied>().back();
  EXPECT_EQ(applied.index, Index(3));
  EXPECT_EQ(applied.revision, Revision(2));
}

TYPED_TEST_P(StateMachineContract, AppliedComesInOrderAndReachesTheLast) {
  this->Open();
  for (const EntryPtr& entry : this->History()) this->state_->Apply({entry});
  this->AwaitApplied(this->chain_.last().at.index);
  Index previous;
  for (const Applied& applied : this->events_->template All<Applied>()) {
    EXPECT_GT(applied.index, previous);
    previous = applied.index;
  }
  EXPECT_EQ(previous, this->chain_.last().at.index);
}

TYPED_TEST_P(StateMachineContract, ADeleteTellsWhetherItFoundItsKey) {
  this->Open();
  this->state_->Apply({this->chain_.Put(Term(1), "there", "1")});
  this->AwaitApplied(Index(1));
  std::string batch;
  AppendDelete(&batch, "there");    // revision 2: existed before the entry
  AppendDelete(&batch, "there");    // 3: gone
  AppendDelete(&batch, "missing");  // 4
  AppendPut(&batch, "new", "x");    // 5
  AppendDelete(&batch, "new");      // 6: put just before
  AppendPut(&batch, "new", "y");    // 7
  this->state_->Apply({this->chain_.Commands(Term(1), 6, batch),
                       this->chain_.Delete(Term(1), "new"),        // 8
                       this->chain_.Delete(Term(1), "missing")});  // 9
  this->AwaitApplied(Index(4));
  std::vector<std::pair<uint64_t, bool>> outcomes;
  for (const Applied& applied : this->events_->template All<Applied>()) {
    for (const CommandOutcome& outcome : applied.outcomes) {
      outcomes.emplace_back(outcome.revision.value(), outcome.existed);
    }
  }
  const std::vector<std::pair<uint64_t, bool>> expected = {{2, true}, {3, false}, {4, false},
                                                           {6, true}, {8, true},  {9, false}};
  EXPECT_EQ(outcomes, expected);
  EXPECT_EQ(this->world_.Get(*this->state_, "there"), std::nullopt);
  EXPECT_EQ(this->world_.Get(*this->state_, "new"), std::nullopt);
}

TYPED_TEST_P(StateMachineContract, WithinABatchTheLastCommandWins) {
  this->Open();
  std::string batch;
  AppendPut(&batch, "a", "1");
  AppendDelete(&batch, "a");
  AppendPut(&batch, "b", "1");
  AppendPut(&batch, "a", "2");
  AppendPut(&batch, "b", "2");
  AppendDelete(&batch, "b");
  this->state_->Apply({this->chain_.Commands(Term(1), 6, batch)});
  this->AwaitApplied(Index(1));
  EXPECT_EQ(this->world_.Get(*this->state_, "a"), "2");
  EXPECT_EQ(this->world_.Get(*this->state_, "b"), std::nullopt);
}

TYPED_TEST_P(StateMachineContract, WhatIsDurableSurvivesARestart) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  this->Open();
  const std::vector<EntryPtr> entries = this->History();
  this->state_->Apply(entries);
  this->AwaitApplied(this->chain_.last().at.index);
  ASSERT_TRUE(this->world_.MakeDurable(*this->state_));
  const Index last = this->chain_.last().at.index;
  ASSERT_TRUE(this->world_.WaitUntil(*this->events_, [last](const std::vector<Event>& events) {
    const auto durable = EventLog::AllOf<StateDurable>(events);
    return !durable.empty() && durable.back().index == last;
  }));
  const uint64_t digest = this->world_.Digest(*this->state_);
  this->world_.LosePower();
  EXPECT_EQ(this->Open(), this->chain_.last());
  EXPECT_EQ(this->world_.Digest(*this->state_), digest);
}

TYPED_TEST_P(StateMachineContract, AfterLossOfPowerTheRestCanBeReplayed) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanLosePower);
  this->Open();
  const std::vector<EntryPtr> entries = this->History();
  for (size_t i = 0; i < entries.size(); ++i) {
    this->state_->Apply({entries[i]});
    if (i % 60 == 59) {
      this->AwaitApplied(entries[i]->index());
      ASSERT_TRUE(this->world_.MakeDurable(*this->state_));
    }
  }
  this->AwaitApplied(this->chain_.last().at.index);
  const uint64_t digest = this->world_.Digest(*this->state_);
  this->world_.LosePower();
  const auto durable = this->events_->template All<StateDurable>();
  ASSERT_FALSE(durable.empty());
  const LogPoint recovered = this->Open();
  EXPECT_GE(recovered.at.index, durable.back().index);
  ASSERT_LT(recovered.at.index, this->chain_.last().at.index);
  EXPECT_EQ(recovered, entries[recovered.at.index.value() - 1]->point());
  this->state_->Apply(
      {entries.begin() + static_cast<long>(recovered.at.index.value()), entries.end()});
  this->AwaitApplied(this->chain_.last().at.index);
  EXPECT_EQ(this->world_.Digest(*this->state_), digest);
}

TYPED_TEST_P(StateMachineContract, GroupingDoesNotMatter) {
  this->Open();
  const std::vector<EntryPtr> entries = this->History();
  this->state_->Apply(entries);
  this->AwaitApplied(this->chain_.last().at.index);
  const uint64_t at_once = this->world_.Digest(*this->state_);
  TypeParam other_world;
  EventLog other_events;
  auto other = other_world.OpenState();
  ASSERT_TRUE(other.ok());
  (*other)->Start(&other_events);
  for (const EntryPtr& entry : entries) {
    (*other)->Apply({entry});
    ASSERT_TRUE(other_world.WaitUntil(other_events, [&](const std::vector<Event>& events) {
      const auto applied = EventLog::AllOf<Applied>(events);
      return !applied.empty() && applied.back().index == entry->index();
    }));
  }
  EXPECT_EQ(other_world.Digest(**other), at_once);
  EXPECT_NE(at_once, 0u);
}

TYPED_TEST_P(StateMachineContract, AnEntryThatDoesNotFollowStopsIt) {
  this->Open();
  this->state_->Apply({this->chain_.Put(Term(1), "a", "1")});
  this->AwaitApplied(Index(1));
  EntryChain stranger;
  stranger.Put(Term(1), "a", "other");
  this->state_->Apply({stranger.Put(Term(1), "a", "2")});
  EXPECT_EQ(this->AwaitFailure().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(this->world_.Get(*this->state_, "a"), "1");
}

TYPED_TEST_P(StateMachineContract, AMalformedBatchStopsItWithoutEffect) {
  for (const bool cut : {true, false}) {
    EntryChain chain;
    TypeParam world;
    EventLog events;
    auto state = world.OpenState();
    ASSERT_TRUE(state.ok());
    (*state)->Start(&events);
    std::string batch;
    AppendPut(&batch, "a", "1");
    // Cut short, or holding fewer commands than the entry counts.
    (*state)->Apply({cut ? chain.Commands(Term(1), 1, batch.substr(0, batch.size() - 1))
                         : chain.Commands(Term(1), 2, batch)});
    ASSERT_TRUE(world.WaitUntil(events, [](const std::vector<Event>& all) {
      return !EventLog::AllOf<StorageFailed>(all).empty();
    }));
    EXPECT_EQ(events.All<StorageFailed>().front().status.code(), absl::StatusCode::kDataLoss);
    EXPECT_EQ(world.Get(**state, "a"), std::nullopt);
    EXPECT_TRUE(events.All<Applied>().empty());
  }
}

TYPED_TEST_P(StateMachineContract, AfterAFailedSyncNothingIsApplied) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanFailSyncs);
  this->ExpectFailureIsFinalAndRepairable([this] { this->world_.FailSyncs(); }, [] {});
}

TYPED_TEST_P(StateMachineContract, OnAFullDiskNothingIsApplied) {
  SKEIN_SKIP_UNLESS(TypeParam::kCanRunFull);
  this->ExpectFailureIsFinalAndRepairable([this] { this->world_.SetFreeBytes(100); },
                                          [this] { this->world_.SetFreeBytes(std::nullopt); });
}

REGISTER_TYPED_TEST_SUITE_P(StateMachineContract, ANewStateIsAtTheBeginning,
                            AnAppliedEntryIsVisible, AppliedComesInOrderAndReachesTheLast,
                            ADeleteTellsWhetherItFoundItsKey, WithinABatchTheLastCommandWins,
                            WhatIsDurableSurvivesARestart, AfterLossOfPowerTheRestCanBeReplayed,
                            GroupingDoesNotMatter, AnEntryThatDoesNotFollowStopsIt,
                            AMalformedBatchStopsItWithoutEffect, AfterAFailedSyncNothingIsApplied,
                            OnAFullDiskNothingIsApplied);

}  // namespace skein
