// Replica over fakes that do only what they are told: batching, the order of a Ready, callers.
#include "replication/replica.h"

#include <gtest/gtest.h>

#include <optional>

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
  void Install(const LogBase& base) override { installing = base; }
  std::optional<LogBase> installing;
};

struct FakeFetcher final : SnapshotFetcher {
  std::vector<SnapshotFetch> fetches;
  void Fetch(const SnapshotFetch& fetch) override { fetches.push_back(fetch); }
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
  void OnMembership(const MembershipsInForce& now) override { memberships.push_back(now); }
  void OnNotice(const std::string&) override {}
  std::vector<MembershipsInForce> memberships;
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
                                         &transport_, &fetcher_, &observer_, &clock_, Random(1));
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
  void Read(uint64_t wait_us, std::optional<ReadOutcome>* heard) {
    replica_->Read(clock_.now_us + wait_us, [heard](ReadOutcome outcome) { *heard = outcome; });
  }

  ReplicaOptions options_;
  uint64_t learners_ = 0;
  FakeClock clock_;
  FakeLogStore log_;
  FakeStateMachine state_;
  FakeTransport transport_;
  FakeFetcher fetcher_;
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

// Else its readers wait ever longer, and after a handover so do those whose writes it had taken.
TEST_F(ReplicaTest, ALeaderWhoseStateIsBehindLetsProposalsWait) {
  options_.unapplied_bytes_max = 150;
  Lead();
  std::vector<ProposalResult> heard;
  Propose(std::string(200, 'a'), &heard);
  replica_->Perform();
  PersistAll();
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_GT(replica_->LagOf(NodeId(1)).bytes, 150u);
  const size_t written = log_.writes.size();
  Propose(std::string(options_.eager_bytes, 'b'), &heard);
  replica_->Perform();
  EXPECT_EQ(log_.writes.size(), written);
  ApplyAll();
  EXPECT_EQ(replica_->LagOf(NodeId(1)).bytes, 0u);
  EXPECT_EQ(log_.writes.size(), written + 1);
  PersistAll();
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[1].outcome, Outcome::kOk);
}

TEST_F(ReplicaTest, ManySmallEntriesCountAsWell) {
  options_.unapplied_entries_max = 2;
  Lead();
  std::vector<ProposalResult> heard;
  for (int i = 0; i < 4; ++i) {
    Propose("a", &heard);
    replica_->Perform();
    PersistAll();
  }
  EXPECT_EQ(heard.size(), 3u);
  ApplyAll();
  PersistAll();
  EXPECT_EQ(heard.size(), 4u);
}

// Early enough for a client to try again before its own deadline.
TEST_F(ReplicaTest, WhatWaitedInVainForTheStateIsNotAppended) {
  options_.unapplied_bytes_max = 150;
  options_.unapplied_wait_us = 500'000;
  Lead();
  std::vector<ProposalResult> heard;
  Propose(std::string(200, 'a'), &heard);
  replica_->Perform();
  PersistAll();
  Propose("b", &heard);
  replica_->Perform();
  clock_.now_us += 400'000;
  Tick(1);
  ASSERT_EQ(heard.size(), 1u);
  clock_.now_us += 200'000;
  Tick(1);
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_EQ(heard[1].outcome, Outcome::kQueueFull);
  const size_t written = log_.writes.size();
  ApplyAll();
  EXPECT_EQ(log_.writes.size(), written);
}

TEST_F(ReplicaTest, AReaderWaitsUntilItsIndexIsApplied) {
  Lead();
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  replica_->Perform();
  PersistAll();
  std::optional<ReadOutcome> heard_by_reader;
  Read(1000, &heard_by_reader);
  replica_->Perform();
  EXPECT_EQ(heard_by_reader, std::nullopt);
  ApplyAll();
  EXPECT_EQ(heard_by_reader, ReadOutcome::kGranted);
  EXPECT_EQ(observer_.stages[static_cast<size_t>(Stage::kApplied)], Index(2));
}

TEST_F(ReplicaTest, AReaderHearsThatItsIndexIsNotAppliedInTime) {
  Lead();
  std::vector<ProposalResult> heard;
  Propose("a", &heard);
  replica_->Perform();
  PersistAll();
  std::optional<ReadOutcome> heard_by_reader;
  Read(1000, &heard_by_reader);
  replica_->Perform();
  clock_.now_us += 2000;
  Tick(1);
  EXPECT_EQ(heard_by_reader, ReadOutcome::kBehind);
}

TEST_F(ReplicaTest, AReaderHearsThatNobodyIsConfirmedInTime) {
  Start(3);
  replica_->Step(Received{Message{NodeId(2), NodeId(1), Term(1), HeartbeatMessage{.round = 1}}, 0});
  std::optional<ReadOutcome> heard_by_reader;
  Read(1000, &heard_by_reader);
  replica_->Perform();
  clock_.now_us += 2000;
  Tick(1);
  EXPECT_EQ(heard_by_reader, ReadOutcome::kNotConfirmed);
}

// R19
TEST_F(ReplicaTest, ReadersThatWaitHaveALimit) {
  options_.core.reads_waiting_max = 2;
  Start(3);
  replica_->Step(Received{Message{NodeId(2), NodeId(1), Term(1), HeartbeatMessage{.round = 1}}, 0});
  std::optional<ReadOutcome> heard[3];
  for (std::optional<ReadOutcome>& by_reader : heard) {
    Read(1000, &by_reader);
    replica_->Perform();
  }
  EXPECT_EQ(heard[0], std::nullopt);
  EXPECT_EQ(heard[1], std::nullopt);
  EXPECT_EQ(heard[2], ReadOutcome::kQueueFull);
}

// R19: while a term is on its way to a disk that hangs, every message waits. The newest are kept.
TEST_F(ReplicaTest, MessagesThatWaitForATermHaveALimit) {
  options_.send_after_max = 10;
  Start(3);
  for (uint64_t round = 1; round <= 100; ++round) {
    replica_->Step(
        Received{Message{NodeId(2), NodeId(1), Term(1), HeartbeatMessage{.round = round}}, 0});
    replica_->Perform();
  }
  EXPECT_TRUE(transport_.sent.empty());
  EXPECT_EQ(replica_->messages_waiting(), 10u);
  PersistAll();
  ASSERT_GE(transport_.sent.size(), 10u);
  EXPECT_EQ(std::get<HeartbeatAck>(transport_.sent[9].body).round, 100u);
  EXPECT_EQ(std::get<HeartbeatAck>(transport_.sent[0].body).round, 91u);
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

// The node is n1, follower of n2.
class FollowerTest : public ReplicaTest {
 protected:
  void SetUp() override { Start(3); }
  void Hear(MessageBody body) {
    replica_->Step(Received{{NodeId(2), NodeId(1), Term(1), std::move(body)}, clock_.now_us});
    replica_->Perform();
  }
  void Report(Event event) {
    replica_->Step(event);
    replica_->Perform();
  }
  LogBase Snapshot(uint64_t index) const {
    return {{{Term(1), Index(index)}, 7, Revision(index)}, replica_->core().membership()};
  }
};

TEST_F(FollowerTest, TakesASnapshotAndGoesOnBehindIt) {
  Hear(SnapshotOffer{1, NodeId(3), "n3:1", Index(5)});
  ASSERT_EQ(fetcher_.fetches.size(), 1u);
  EXPECT_EQ(fetcher_.fetches[0].source_address, "n3:1");
  EXPECT_EQ(fetcher_.fetches[0].at_least, Index(5));
  Report(SnapshotFetched{fetcher_.fetches[0].id, Snapshot(8)});
  ASSERT_TRUE(state_.installing.has_value());
  EXPECT_EQ(*state_.installing, Snapshot(8));
  // It must not lead with a log that is about to go.
  Tick(3 * options_.core.election_ticks_max);
  EXPECT_EQ(replica_->core().role(), Role::kFollower);
  Report(Installed{Snapshot(8)});
  EXPECT_EQ(replica_->applied_revision(), Revision(8));
  ASSERT_FALSE(log_.writes.empty());
  ASSERT_TRUE(log_.writes.back().reset.has_value());
  EXPECT_EQ(*log_.writes.back().reset, Snapshot(8));
  EXPECT_EQ(replica_->core().log().last_index(), Index(8));
  const EntryPtr next = Entry::Build(Snapshot(8).point, Term(1), EntryType::kCommands, 1, 0, "x");
  Hear(AppendMessage{Snapshot(8).point.at, Snapshot(8).point.chain, Index(8), {next}});
  EXPECT_EQ(replica_->core().log().last_index(), Index(9));
}

TEST_F(FollowerTest, KeepsItsStateWhenTheSnapshotIsDamaged) {
  Hear(SnapshotOffer{1, NodeId(3), "n3:1", Index(5)});
  Report(SnapshotFetched{fetcher_.fetches.at(0).id, Snapshot(8)});
  PersistAll();
  transport_.sent.clear();
  Report(Installed{absl::DataLossError("a file is damaged")});
  EXPECT_EQ(replica_->core().log().last_index(), Index(0));
  ASSERT_EQ(transport_.sent.size(), 1u);
  const auto* report = std::get_if<SnapshotReport>(&transport_.sent[0].body);
  ASSERT_NE(report, nullptr);
  EXPECT_EQ(report->phase, SnapshotPhase::kFailed);
  EXPECT_NE(report->error.find("damaged"), std::string::npos);
  // And is offered another.
  Hear(SnapshotOffer{2, NodeId(2), "n2:1", Index(5)});
  EXPECT_EQ(fetcher_.fetches.size(), 2u);
}

TEST_F(FollowerTest, AnswersOfAnEarlierFetchAreOverlooked) {
  Hear(SnapshotOffer{1, NodeId(3), "n3:1", Index(5)});
  Hear(SnapshotOffer{2, NodeId(2), "n2:1", Index(5)});
  ASSERT_EQ(fetcher_.fetches.size(), 2u);
  Report(SnapshotFetched{fetcher_.fetches[0].id, Snapshot(8)});
  EXPECT_FALSE(state_.installing.has_value());
  Report(SnapshotFetched{fetcher_.fetches[1].id, Snapshot(9)});
  EXPECT_TRUE(state_.installing.has_value());
}

TEST_F(FollowerTest, WhoCampaignsDeclinesWhatItHasFetched) {
  Hear(SnapshotOffer{1, NodeId(3), "n3:1", Index(5)});
  PersistAll();
  Tick(options_.core.election_ticks_max);
  ASSERT_EQ(replica_->core().role(), Role::kPreCandidate);
  Report(SnapshotFetched{fetcher_.fetches.at(0).id, Snapshot(8)});
  EXPECT_FALSE(state_.installing.has_value());
}

TEST_F(FollowerTest, ASnapshotOfALaterTermRaisesItsOwn) {
  Hear(SnapshotOffer{1, NodeId(3), "n3:1", Index(5)});
  LogBase base = Snapshot(8);
  base.point.at.term = Term(4);
  Report(SnapshotFetched{fetcher_.fetches.at(0).id, base});
  EXPECT_EQ(replica_->core().term(), Term(4));
  EXPECT_TRUE(state_.installing.has_value());
}

TEST_F(ReplicaTest, AChangeIsAnsweredWhenItIsCommitted) {
  Lead();
  std::vector<absl::Status> heard;
  const auto hear = [&heard](absl::Status status) { heard.push_back(std::move(status)); };
  replica_->Change(AddLearner{NodeId(2), "n2", "n2:1"}, clock_.now_us + 1'000'000, hear);
  replica_->Perform();
  EXPECT_TRUE(heard.empty());
  replica_->Change(AddLearner{NodeId(3), "n3", "n3:1"}, clock_.now_us + 1'000'000, hear);
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_TRUE(absl::IsFailedPrecondition(heard[0])) << heard[0];
  PersistAll();
  ASSERT_EQ(heard.size(), 2u);
  EXPECT_TRUE(heard[1].ok()) << heard[1];
  ASSERT_FALSE(observer_.memberships.empty());
  EXPECT_EQ(observer_.memberships.back().committed.membership.members.size(), 2u);
}

TEST_F(ReplicaTest, AChangeThatIsNotCommittedInTimeIsUnknown) {
  Lead();
  absl::Status heard;
  replica_->Change(AddLearner{NodeId(2), "n2", "n2:1"}, clock_.now_us + 1'000'000,
                   [&heard](absl::Status status) { heard = std::move(status); });
  replica_->Perform();
  clock_.now_us += 1'000'000;
  Tick(1);
  EXPECT_TRUE(absl::IsUnknown(heard)) << heard;
}

TEST_F(ReplicaTest, AHandoverWithoutAnotherVoterIsRefused) {
  Lead();
  absl::Status heard;
  replica_->Transfer(NodeId(), [&heard](absl::Status status) { heard = std::move(status); });
  EXPECT_TRUE(absl::IsFailedPrecondition(heard)) << heard;
}

TEST_F(ReplicaTest, ALeaderThatRemovesItselfTakesNoMoreWrites) {
  Lead();
  absl::Status heard;
  replica_->Change(AddLearner{NodeId(2), "n2", "n2:1"}, clock_.now_us + 1'000'000,
                   [](const absl::Status&) {});
  replica_->Perform();
  PersistAll();
  const auto hear = [this](MessageBody body) {
    replica_->Step(Received{{NodeId(2), NodeId(1), replica_->core().term(), std::move(body)}, 0});
    replica_->Perform();
  };
  const auto change = [&](const MembershipChange& what) {
    replica_->Change(what, clock_.now_us + 1'000'000,
                     [&heard](absl::Status status) { heard = std::move(status); });
    replica_->Perform();
    PersistAll();
    hear(AppendAck{.match = replica_->core().log().last_index()});
    return heard;
  };
  hear(HeartbeatAck{.round = 1});
  ASSERT_TRUE(change(RecordIncarnation{NodeId(2), 5}).ok()) << heard;
  ASSERT_TRUE(change(PromoteMember{NodeId(2)}).ok()) << heard;
  replica_->Change(RemoveMember{NodeId(1)}, clock_.now_us + 1'000'000,
                   [&heard](absl::Status status) { heard = std::move(status); });
  std::vector<ProposalResult> writes;
  Propose("late", &writes);
  replica_->Perform();
  PersistAll();
  EXPECT_TRUE(writes.empty());
  hear(AppendAck{.match = replica_->core().log().last_index()});
  EXPECT_TRUE(heard.ok()) << heard;
  ASSERT_EQ(writes.size(), 1u);
  EXPECT_EQ(writes[0].outcome, Outcome::kNotLeader);
}

}  // namespace
}  // namespace skein
