// Replica over fakes that do only what they are told: batching, the order of a Ready, callers.
#include "replication/replica.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

struct FakeClock final : Clock {
  uint64_t now_us = 1'000'000;
  uint64_t MonotonicMicros() const override { return now_us; }
  uint64_t WallMillis() const override { return now_us / 1000; }
};

struct FakeLogStore final : LogStore {
  std::vector<LogWrite> writes;
  std::vector<LogRead> reads;
  absl::StatusOr<LogRecovery> Recover() override { return LogRecovery(); }
  void Start(EventSink*) override {}
  void Write(LogWrite write) override { writes.push_back(std::move(write)); }
  void Read(LogRead read) override { reads.push_back(read); }
  void Trim(Index) override {}
  Index FirstIndex() const override { return Index(1); }
};

struct FakeStateMachine final : StateMachine {
  std::vector<EntryPtr> applying;
  LogPoint Recovered() const override { return {}; }
  void Start(EventSink*) override {}
  void Apply(std::vector<EntryPtr> entries) override {
    applying.insert(applying.end(), entries.begin(), entries.end());
  }
};

struct FakeTransport final : Transport {
  std::vector<Message> sent;
  void Send(Message message) override { sent.push_back(std::move(message)); }
};

struct FakeObserver final : Observer {
  std::vector<Role> roles;
  Index stages[4];
  void OnRoleChange(const RoleChange& change) override { roles.push_back(change.role); }
  void OnAppended(const std::vector<EntryPtr>&) override {}
  void OnStage(Stage stage, Index index) override { stages[static_cast<size_t>(stage)] = index; }
  void OnNotice(const std::string&) override {}
};

// A node of a cluster of `voters`, all of whose I/O waits for the test.
class ReplicaTest : public testing::Test {
 protected:
  void Start(uint64_t voters) {
    LogRecovery recovery;
    for (uint64_t i = 1; i <= voters + learners_; ++i) {
      recovery.base.membership.members.push_back(
          {NodeId(i), "n" + std::to_string(i), "", i <= voters});
    }
    replica_ = std::make_unique<Replica>(options_, NodeId(1), std::move(recovery), &log_, &state_,
                                         &transport_, &observer_, &clock_, Random(1));
  }
  void Tick(uint64_t ticks) {
    for (uint64_t i = 0; i < ticks; ++i) {
      replica_->Step(skein::Tick{});
      replica_->Perform();
    }
  }
  void PersistAll() {
    while (persisted_ < log_.writes.size()) {
      replica_->Step(Persisted{log_.writes[persisted_++].id});
      replica_->Perform();
    }
  }
  void ApplyAll() {
    if (state_.applying.empty()) return;
    const LogPoint last = state_.applying.back()->point();
    state_.applying.clear();
    replica_->Step(Applied{last.at.index, last.revision, {}});
    replica_->Perform();
  }
  // A leader of itself, its first entry committed.
  void Lead() {
    Start(1);
    Tick(options_.core.election_ticks_max);
    PersistAll();
    PersistAll();
    ApplyAll();
    ASSERT_EQ(replica_->core().role(), Role::kLeader);
  }
  void Propose(const std::string& payload, std::vector<ProposalResult>* heard) {
    Proposal proposal;
    proposal.payload = payload;
    proposal.command_count = 1;
    proposal.deadline_us = clock_.now_us + 1'000'000;
    proposal.all_deadline_us = proposal.deadline_us;
    proposal.done = [heard](ProposalResult result) { heard->push_back(std::move(result)); };
    replica_->Propose(std::move(proposal));
  }

  ReplicaOptions options_;
  uint64_t learners_ = 0;
  FakeClock clock_;
  FakeLogStore log_;
  FakeStateMachine state_;
  FakeTransport transport_;
  FakeObserver observer_;
  std::unique_ptr<Replica> replica_;
  size_t persisted_ = 0;
};

// What is committed may leave memory at once; a member that has not applied it lags all the same.
TEST_F(ReplicaTest, LagCountsWhatIsNoLongerInMemory) {
  options_.core.memory_bytes_max = 0;
  learners_ = 1;
  Lead();
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  replica_->Perform();
  PersistAll();
  ASSERT_EQ(heard.size(), 1u);
  clock_.now_us += 5'000;
  EXPECT_EQ(replica_->LagOf(NodeId(2)).milliseconds, 5u);
}

TEST_F(ReplicaTest, WhatArrivesMeanwhileBecomesOneEntry) {
  Lead();
  const size_t before = log_.writes.size();
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  replica_->Perform();
  Propose("b", &heard);
  replica_->Perform();
  // Two entries are under way, as many as may be.
  ASSERT_EQ(log_.writes.size(), before + 2);
  for (const char* payload : {"c", "d", "e"}) {
    Propose(payload, &heard);
    replica_->Perform();
  }
  EXPECT_EQ(log_.writes.size(), before + 2);
  PersistAll();
  ASSERT_EQ(log_.writes.size(), before + 3);
  ASSERT_EQ(log_.writes.back().entries.size(), 1u);
  EXPECT_EQ(log_.writes.back().entries[0]->payload(), "cde");
  EXPECT_EQ(log_.writes.back().entries[0]->command_count(), 3u);
  PersistAll();
  ASSERT_EQ(heard.size(), 5u);
  for (size_t i = 0; i < heard.size(); ++i) {
    EXPECT_EQ(heard[i].outcome, Outcome::kOk);
    EXPECT_EQ(heard[i].first_revision, Revision(i + 1));
  }
}

TEST_F(ReplicaTest, AnswersNobodyBeforeTheWriteIsDurable) {
  Lead();
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  replica_->Perform();
  Tick(3);
  EXPECT_TRUE(heard.empty());
  EXPECT_TRUE(state_.applying.empty());
  PersistAll();
  EXPECT_EQ(heard.size(), 1u);
  EXPECT_EQ(state_.applying.size(), 1u);
}

TEST_F(ReplicaTest, VotesOnlyAfterTheVoteIsDurable) {
  Start(3);
  replica_->Step(
      Received{Message{NodeId(2), NodeId(1), Term(1), VoteMessage{.pre = false, .last = {}}}, 0});
  replica_->Perform();
  ASSERT_EQ(log_.writes.size(), 1u);
  EXPECT_EQ(log_.writes[0].hard_state->vote, NodeId(2));
  EXPECT_TRUE(transport_.sent.empty());
  PersistAll();
  ASSERT_EQ(transport_.sent.size(), 1u);
  EXPECT_TRUE(std::get<VoteAck>(transport_.sent[0].body).granted);
}

TEST_F(ReplicaTest, RefusesAtOnceWithoutLeadershipOrQuorum) {
  Start(3);
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].outcome, Outcome::kNotLeader);
  replica_->Step(LinkDown{NodeId(2), false});
  replica_->Step(LinkDown{NodeId(3), false});
  Propose("b", &heard);
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[1].outcome, Outcome::kNoQuorum);
}

TEST_F(ReplicaTest, ItsQueueIsBounded) {
  options_.queue_bytes_max = 100;
  Lead();
  std::vector<ProposalResult> heard;
  for (int i = 0; i < 10; ++i) Propose(std::string(60, 'x'), &heard);
  ASSERT_EQ(heard.size(), 8u);
  EXPECT_EQ(heard[0].outcome, Outcome::kQueueFull);
}

TEST_F(ReplicaTest, AReaderWaitsUntilItsIndexIsApplied) {
  Lead();
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  replica_->Perform();
  PersistAll();
  int granted = 0;
  replica_->Read(clock_.now_us + 1000, [&granted](bool yes) { granted = yes ? 1 : -1; });
  replica_->Perform();
  EXPECT_EQ(granted, 0);
  ApplyAll();
  EXPECT_EQ(granted, 1);
  EXPECT_EQ(observer_.stages[static_cast<size_t>(Stage::kApplied)], Index(2));
}

TEST_F(ReplicaTest, AReaderHearsNoWhenItsTimeIsOver) {
  Start(3);
  replica_->Step(Received{Message{NodeId(2), NodeId(1), Term(1), HeartbeatMessage{.round = 1}}, 0});
  int granted = 0;
  replica_->Read(clock_.now_us + 1000, [&granted](bool yes) { granted = yes ? 1 : -1; });
  replica_->Perform();
  clock_.now_us += 2000;
  Tick(1);
  EXPECT_EQ(granted, -1);
}

TEST_F(ReplicaTest, AFailedDiskStopsEverything) {
  Lead();
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  replica_->Perform();
  const size_t writes = log_.writes.size();
  replica_->Step(StorageFailed{absl::InternalError("log: no space left on device")});
  replica_->Perform();
  EXPECT_FALSE(replica_->fatal().ok());
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].outcome, Outcome::kUnknown);
  Propose("b", &heard);
  replica_->Perform();
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[1].outcome, Outcome::kStopping);
  EXPECT_EQ(log_.writes.size(), writes);
}

}  // namespace
}  // namespace skein
