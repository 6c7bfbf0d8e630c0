// What the stories cannot show: damage that only a disk or a bug produces, and the parts alone.
#include "replication/core/core.h"

#include <gtest/gtest.h>

#include "replication/core/quorum.h"
#include "replication/lag_tracker.h"

namespace skein {
namespace {

Membership ThreeVoters() {
  Membership membership;
  for (uint64_t i = 1; i <= 3; ++i) {
    membership.members.push_back({NodeId(i), "n" + std::to_string(i), "", true});
  }
  return membership;
}

EntryPtr Next(const LogPoint& previous, uint64_t term, const std::string& payload) {
  return Entry::Build(previous, Term(term), EntryType::kCommands, 1, 0, payload);
}

// A follower, n2, whose log holds these entries.
Core Follower(std::vector<EntryPtr> entries, Index commit, const CoreOptions& options = {},
              uint64_t process = 1) {
  LogRecovery recovery;
  recovery.base.membership = ThreeVoters();
  recovery.hard_state = {Term(1), NodeId(), commit};
  for (EntryPtr& entry : entries) {
    recovery.last = entry->point();
    recovery.acknowledged = entry->index();
    if (entry->index() <= commit) {
      recovery.tail_base = entry->point();
    } else {
      recovery.tail.push_back(std::move(entry));
    }
  }
  return Core(options, NodeId(2), std::move(recovery), LogPoint(), Random(process));
}

Received From(uint64_t leader, uint64_t term, AppendMessage append) {
  return {Message{NodeId(leader), NodeId(2), Term(term), std::move(append)}, 0};
}

// R8: the same term and index, but another history behind it.
TEST(Core, StopsWhenTheChainDiffersFromTheLeaders) {
  const EntryPtr mine = Next(LogPoint(), 1, "mine");
  const EntryPtr theirs = Next(LogPoint(), 1, "theirs");
  Core core = Follower({mine}, Index(0));
  core.Step(From(1, 1, {theirs->position(), theirs->chain(), Index(0), {}}));
  EXPECT_TRUE(absl::IsDataLoss(core.TakeReady().fatal));
}

TEST(Core, StopsWhenAnEntryOfItsTermDiffers) {
  Core core = Follower({Next(LogPoint(), 1, "mine")}, Index(0));
  core.Step(From(1, 1, {{}, 0, Index(0), {Next(LogPoint(), 1, "theirs")}}));
  EXPECT_TRUE(absl::IsDataLoss(core.TakeReady().fatal));
}

TEST(Core, StopsWhenALeaderContradictsACommittedEntry) {
  Core core = Follower({Next(LogPoint(), 1, "mine")}, Index(1));
  core.Step(From(1, 2, {{Term(2), Index(1)}, 7, Index(1), {}}));
  EXPECT_FALSE(core.TakeReady().fatal.ok());
}

TEST(Core, DropsAnAppendThatDoesNotFollow) {
  const EntryPtr first = Next(LogPoint(), 1, "a");
  const EntryPtr wrong = Next({first->position(), 99, first->last_revision()}, 1, "b");
  Core core = Follower({first}, Index(0));
  core.Step(From(1, 1, {first->position(), first->chain(), Index(0), {wrong}}));
  const Ready ready = core.TakeReady();
  EXPECT_TRUE(ready.fatal.ok());
  EXPECT_FALSE(ready.persist.has_value());
  EXPECT_EQ(core.log().last_index(), Index(1));
}

// The id that the follower gives to its first question for a read.
uint64_t IdOfQuestion(Core* core) {
  core->Step(From(1, 1, {}));
  (void)core->TakeReady();
  core->ReadIndex(7);
  for (const Message& message : core->TakeReady().send_now) {
    if (const auto* read = std::get_if<ReadIndexMessage>(&message.body)) return read->id;
  }
  ADD_FAILURE() << "no question";
  return 0;
}

// R15: the answer to what a former process of this node asked is from before the read began.
TEST(Core, TakesNoAnswerToAQuestionOfItsFormerProcess) {
  Core former = Follower({}, Index(0), {}, /*process=*/1);
  Core core = Follower({}, Index(0), {}, /*process=*/2);
  const uint64_t old_id = IdOfQuestion(&former);
  const uint64_t id = IdOfQuestion(&core);
  core.Step(Received{Message{NodeId(1), NodeId(2), Term(1), ReadIndexAck{old_id, true, {}}}, 0});
  EXPECT_TRUE(core.TakeReady().reads.empty());
  core.Step(Received{Message{NodeId(1), NodeId(2), Term(1), ReadIndexAck{id, true, {}}}, 0});
  EXPECT_EQ(core.TakeReady().reads.size(), 1u);
}

// R36: who relays does not lead, whatever term it brings; it is answered all the same.
TEST(Core, TakesWhatIsRelayedFromWhoDoesNotLead) {
  Core core = Follower({}, Index(0));
  const EntryPtr entry = Next(LogPoint(), 1, "a");
  AppendMessage relayed{.commit = Index(1), .entries = {entry}, .relayed = true};
  core.Step(From(3, 2, relayed));
  EXPECT_EQ(core.term(), Term(2));
  EXPECT_EQ(core.leader(), NodeId());
  EXPECT_EQ(core.commit(), Index(1));
  const Ready ready = core.TakeReady();
  ASSERT_TRUE(ready.persist.has_value());
  core.Step(Persisted{ready.persist->id});
  bool acknowledged = false;
  for (const Message& message : core.TakeReady().send_now) {
    const auto* ack = std::get_if<AppendAck>(&message.body);
    acknowledged = acknowledged || (ack != nullptr && message.to == NodeId(3) && !ack->rejected &&
                                    ack->match == Index(1));
  }
  EXPECT_TRUE(acknowledged);
}

// R36: it is no sign of life of the leader.
TEST(Core, CampaignsThoughItIsFed) {
  Core core = Follower({}, Index(0));
  core.Step(From(1, 1, {}));
  ASSERT_EQ(core.leader(), NodeId(1));
  for (uint64_t i = 0; i <= CoreOptions().election_ticks_max; ++i) {
    core.Step(Tick{});
    core.Step(From(3, 1, AppendMessage{.relayed = true}));
    (void)core.TakeReady();
  }
  EXPECT_EQ(core.role(), Role::kPreCandidate);
}

TEST(Core, IgnoresWhatIsForAnother) {
  Core core = Follower({}, Index(0));
  core.Step(Received{Message{NodeId(1), NodeId(3), Term(7), HeartbeatMessage{}}, 0});
  EXPECT_EQ(core.term(), Term(1));
  EXPECT_TRUE(core.TakeReady().empty());
}

// R16: a stamp that this process cannot have sent is of another boot's clock, and proves nothing.
TEST(Core, TakesBackOnlyStampsOfItsOwnClock) {
  Core core = Follower({}, Index(0));
  const auto hear = [&core](uint64_t stamp_us, uint64_t now_us) {
    core.Step(Received{Message{NodeId(1), NodeId(2), Term(1),
                               HeartbeatMessage{.round = 1, .fresh_stamp_us = stamp_us}},
                       now_us});
    return core.fresh_stamp_us();
  };
  EXPECT_EQ(hear(0, 1000), 0u);
  EXPECT_EQ(hear(300'000, 2000), 0u) << "from the future";
  EXPECT_EQ(hear(999, 3000), 0u) << "from before this process heard anything";
  EXPECT_EQ(hear(1500, 4000), 1500u);
}

// Entries of term 1 from index 1 on.
std::vector<EntryPtr> Entries(size_t count) {
  std::vector<EntryPtr> entries;
  LogPoint last;
  for (size_t i = 0; i < count; ++i) {
    entries.push_back(Next(last, 1, "a"));
    last = entries.back()->point();
  }
  return entries;
}

// n2, leader of term 2, with a log of committed entries that are not in memory, and its no-op.
Core Leader(const std::vector<EntryPtr>& committed, const CoreOptions& options = {}) {
  Core core = Follower(committed, committed.back()->index(), options);
  uint64_t written = 0;
  const auto settle = [&core, &written] {
    for (Ready ready = core.TakeReady(); ready.persist; ready = core.TakeReady()) {
      written = ready.persist->id;
      core.Step(Persisted{written});
    }
  };
  while (core.role() == Role::kFollower) core.Step(Tick{});
  settle();
  core.Step(Received{Message{NodeId(1), NodeId(2), Term(2), VoteAck{true, true, ""}}, 0});
  settle();
  core.Step(Received{Message{NodeId(1), NodeId(2), Term(2), VoteAck{false, true, ""}}, 0});
  settle();
  return core;
}

// An acknowledgement from before sends a member back while its entries are being read: what was
// read is then not what comes next, and must not be sent behind the wrong predecessor.
TEST(Core, DropsEntriesReadForAPlaceThatAMemberHasLeft) {
  const std::vector<EntryPtr> entries = Entries(5);
  Core core = Leader(entries);
  ASSERT_EQ(core.role(), Role::kLeader);
  const auto hear = [&core](AppendAck ack) {
    core.Step(Received{Message{NodeId(1), NodeId(2), Term(2), ack}, 0});
  };
  hear({.rejected = true,
        .previous_index = Index(5),
        .last = entries[3]->point(),
        .commit = Index(3)});
  const Ready asked = core.TakeReady();
  ASSERT_EQ(asked.log_reads.size(), 1u);
  ASSERT_EQ(asked.log_reads[0].first, Index(3));
  hear({.match = Index(2)});
  core.Step(LogReadDone{asked.log_reads[0].id, {entries[2], entries[3]}});
  const Ready ready = core.TakeReady();
  EXPECT_EQ(ready.log_reads.size(), 1u) << "asks again, from where the member is now";
  for (const Message& message : ready.send_now) {
    const auto* append = std::get_if<AppendMessage>(&message.body);
    if (append == nullptr || append->entries.empty()) continue;
    EXPECT_EQ(append->entries.front()->index(), append->previous.index.Next());
  }
}

// R12: heartbeats are answered, and nothing is written that could be late. Yet who needs entries
// that only a disk holds that hangs will never get them, and be no part of a quorum.
TEST(Core, ALeaderWhoseLogReadsHangHandsOver) {
  const std::vector<EntryPtr> entries = Entries(5);
  Core core = Leader(entries);
  const auto hear = [&core](MessageBody body) {
    core.Step(Received{Message{NodeId(1), NodeId(2), Term(2), std::move(body)}, 0});
  };
  hear(AppendAck{.rejected = true,
                 .previous_index = Index(5),
                 .last = entries[3]->point(),
                 .commit = Index(3)});
  ASSERT_EQ(core.TakeReady().log_reads.size(), 1u);
  const uint64_t stall_ticks = CoreOptions().stall_ticks;
  bool handed_over = false;
  for (uint64_t tick = 0; tick <= stall_ticks; ++tick) {
    EXPECT_EQ(core.role(), Role::kLeader) << "after " << tick << " ticks";
    core.Step(Tick{});
    hear(HeartbeatAck{.round = 1});
    for (const Message& message : core.TakeReady().send_now) {
      handed_over = handed_over || std::holds_alternative<TimeoutNowMessage>(message.body);
    }
  }
  EXPECT_EQ(core.role(), Role::kFollower);
  EXPECT_TRUE(handed_over);
}

// What is to be applied was read back from the log together with an entry that was not committed
// then. By the time it arrives another leader has replaced that entry and committed its own.
TEST(Core, AppliesNoEntryThatWasReplacedWhileItWasRead) {
  const std::vector<EntryPtr> entries = Entries(3);
  Core core = Follower(entries, Index(2));
  const Ready asked = core.TakeReady();
  ASSERT_EQ(asked.log_reads.size(), 1u);
  const EntryPtr replaced = Next(entries[1]->point(), 2, "b");
  core.Step(From(1, 2, {entries[1]->position(), entries[1]->chain(), Index(3), {replaced}}));
  const Ready written = core.TakeReady();
  ASSERT_TRUE(written.persist.has_value());
  core.Step(Persisted{written.persist->id});
  core.Step(LogReadDone{asked.log_reads[0].id, entries});
  std::vector<EntryPtr> applied = core.TakeReady().apply;
  ASSERT_GE(applied.size(), 2u);
  for (const EntryPtr& entry : applied) EXPECT_NE(entry->chain(), entries[2]->chain());
}

// R19: the followers commit without it, so that nothing but its own disk is behind.
TEST(Core, ALeaderWhoseOwnDiskIsBehindTakesNoMore) {
  CoreOptions options;
  options.uncommitted_bytes_max = 1000;
  Core core = Leader(Entries(1), options);
  ASSERT_EQ(core.role(), Role::kLeader);
  std::vector<uint64_t> writes;
  ProposeStatus status = ProposeStatus::kAppended;
  for (int i = 0; i < 100 && status == ProposeStatus::kAppended; ++i) {
    status = core.Propose(1, 0, std::string(50, 'x')).status;
    const Ready ready = core.TakeReady();
    if (ready.persist) writes.push_back(ready.persist->id);
    for (const uint64_t follower : {1, 3}) {
      core.Step(Received{Message{NodeId(follower), NodeId(2), Term(2),
                                 AppendAck{.match = core.log().last_index()}},
                         0});
    }
    EXPECT_EQ(core.commit(), core.log().last_index());
  }
  EXPECT_EQ(status, ProposeStatus::kQueueFull);
  EXPECT_LE(core.log().undurable_bytes(), 1000 + 50 + Entry::kHeaderBytes);
  core.Step(Persisted{writes.back()});
  EXPECT_EQ(core.log().undurable_bytes(), 0u);
  EXPECT_EQ(core.Propose(1, 0, "y").status, ProposeStatus::kAppended);
}

// R19: a follower does not trust its leaders, of which there may be many while its disk hangs, to
// send no more than a window.
TEST(Core, AFollowerWhoseDiskIsBehindTakesNoMoreThanALeaderMaySend) {
  CoreOptions options;
  options.window_bytes_max = 1000;
  options.append_bytes_max = 500;
  Core core = Follower({}, Index(0), options);
  const std::vector<EntryPtr> entries = Entries(100);
  LogPoint last;
  uint64_t write = 0;
  for (const EntryPtr& entry : entries) {
    core.Step(From(1, 1, {last.at, last.chain, Index(0), {entry}}));
    const Ready ready = core.TakeReady();
    if (ready.persist) write = ready.persist->id;
    last = entry->point();
  }
  const uint64_t entry_bytes = entries[0]->bytes();
  EXPECT_LE(core.log().undurable_bytes(), 1500 + entry_bytes);
  EXPECT_GT(core.log().undurable_bytes(), 1500u);
  core.Step(Persisted{write});
  const Index next = core.log().last_index().Next();
  const LogPoint before = entries[next.value() - 2]->point();
  core.Step(From(1, 1, {before.at, before.chain, Index(0), {entries[next.value() - 1]}}));
  EXPECT_EQ(core.log().last_index(), next);
}

// R19
TEST(Core, ReadsThatWaitHaveALimit) {
  CoreOptions options;
  options.reads_waiting_max = 2;
  Core core = Follower({}, Index(0), options);
  core.Step(Received{Message{NodeId(1), NodeId(2), Term(1), HeartbeatMessage{.round = 1}}, 0});
  for (uint64_t id = 1; id <= 3; ++id) core.ReadIndex(id);
  const Ready ready = core.TakeReady();
  ASSERT_EQ(ready.reads.size(), 1u);
  EXPECT_EQ(ready.reads[0].id, 3u);
  EXPECT_FALSE(ready.reads[0].granted);
  EXPECT_EQ(core.queues().reads, 2u);
}

// R19: before an entry of the leader's own term is committed, and after.
TEST(Core, AFollowerThatAsksAgainWaitsOnce) {
  Core core = Leader(Entries(1));
  const auto hear = [&core](uint64_t from, MessageBody body) {
    core.Step(Received{Message{NodeId(from), NodeId(2), Term(2), std::move(body)}, 0});
  };
  for (uint64_t id = 1; id <= 10; ++id) hear(1, ReadIndexMessage{.id = id});
  hear(3, ReadIndexMessage{.id = 1});
  EXPECT_EQ(core.queues().reads, 2u);
  hear(1, AppendAck{.match = core.log().last_index()});
  ASSERT_TRUE(core.CommittedInTerm());
  for (uint64_t id = 11; id <= 20; ++id) hear(1, ReadIndexMessage{.id = id});
  EXPECT_EQ(core.queues().reads, 2u);
  hear(1, HeartbeatAck{.round = 100});
  std::vector<uint64_t> answered;
  for (const Message& message : core.TakeReady().send_now) {
    const auto* ack = std::get_if<ReadIndexAck>(&message.body);
    if (ack != nullptr && ack->granted) answered.push_back(ack->id);
  }
  EXPECT_EQ(answered, (std::vector<uint64_t>{1, 20}));
}

// R19: however often its link breaks while the disk is slow.
TEST(Core, TheLogIsReadOnceAtATimeForAMember) {
  const std::vector<EntryPtr> entries = Entries(5);
  Core core = Leader(entries);
  const AppendAck reject = {.rejected = true,
                            .previous_index = Index(5),
                            .last = entries[3]->point(),
                            .commit = Index(3)};
  size_t reads = 0;
  for (int i = 0; i < 10; ++i) {
    core.Step(LinkDown{NodeId(1), false});
    core.Step(LinkUp{NodeId(1)});
    core.Step(Received{Message{NodeId(1), NodeId(2), Term(2), reject}, 0});
    reads += core.TakeReady().log_reads.size();
  }
  EXPECT_EQ(reads, 1u);
  EXPECT_LE(core.queues().log_reads, 2u);  // the other one is for the state machine
}

// The log of a damaged node ends before what its state holds and what every member once had; it
// trims nothing that it does not have.
TEST(Core, DamagedLogIsNotTrimmedAboveItsEnd) {
  const std::vector<EntryPtr> entries = Entries(9);
  LogRecovery recovery;
  recovery.base.membership = ThreeVoters();
  recovery.hard_state = {Term(1), NodeId(), Index(9)};
  recovery.last = entries[3]->point();
  recovery.tail_base = recovery.last;
  recovery.acknowledged = Index(9);
  CoreOptions options;
  options.trim_step_entries = 1;
  Core core(options, NodeId(2), recovery, entries[8]->point(), Random(1));
  core.Step(Received{Message{NodeId(1), NodeId(2), Term(1),
                             HeartbeatMessage{.round = 1, .commit = Index(9), .trim = Index(9)}},
                     0});
  const Ready ready = core.TakeReady();
  ASSERT_TRUE(ready.trim.has_value());
  EXPECT_LT(*ready.trim, Index(4));
}

TEST(Core, StopsWhenTheStoreFails) {
  Core core = Follower({}, Index(0));
  core.Step(StorageFailed{absl::InternalError("log/000001.log: I/O error")});
  EXPECT_EQ(core.TakeReady().fatal.message(), "log/000001.log: I/O error");
}

TEST(Quorum, IsWhatMoreThanHalfHaveReached) {
  EXPECT_EQ(QuorumValue({7}), 7u);
  EXPECT_EQ(QuorumValue({7, 3}), 3u);
  EXPECT_EQ(QuorumValue({7, 3, 9}), 7u);
  EXPECT_EQ(QuorumValue({1, 2, 3, 4}), 2u);
  EXPECT_EQ(QuorumValue({5, 4, 3, 2, 1}), 3u);
}

TEST(CoreOptions, RefuseAnElectionTimeoutUnderFiveHeartbeats) {
  CoreOptions options;
  EXPECT_TRUE(options.Validate().ok());
  options.election_ticks_min = 5 * options.heartbeat_ticks - 1;
  EXPECT_TRUE(absl::IsInvalidArgument(options.Validate()));
}

TEST(LagTracker, CountsWhatIsCommittedAndNotApplied) {
  LagTracker lag;
  EXPECT_EQ(lag.Of(Index(0), 0).revisions, 0u);
  for (uint64_t i = 1; i <= 4; ++i) {
    lag.OnCommitted({{Term(1), Index(i)}, 0, Revision(10 * i)}, 100, 1000 * i);
  }
  const Lag none = lag.Of(Index(4), 99000);
  EXPECT_EQ(none.revisions, 0u);
  EXPECT_EQ(none.bytes, 0u);
  EXPECT_EQ(none.milliseconds, 0u);
  const Lag two = lag.Of(Index(2), 13000);
  EXPECT_EQ(two.revisions, 20u);
  EXPECT_EQ(two.bytes, 200u);
  EXPECT_EQ(two.milliseconds, 10u);  // since entry 3 was committed
  EXPECT_EQ(lag.RevisionAt(Index(2)), Revision(20));
}

TEST(LagTracker, ForgetsTheOldest) {
  LagTracker lag(2);
  for (uint64_t i = 1; i <= 4; ++i) {
    lag.OnCommitted({{Term(1), Index(i)}, 0, Revision(i)}, 100, 1000 * i);
  }
  EXPECT_EQ(lag.Of(Index(0), 4000).bytes, 200u);
}

// It may have been no member then, and got its entries from another leader.
TEST(Core, WhatEveryMemberHasIsNotTakenForVerified) {
  Core core = Follower({Next(LogPoint(), 1, "of another leader")}, Index(0));
  core.Step(Received{Message{NodeId(1), NodeId(2), Term(2),
                             HeartbeatMessage{.round = 1, .commit = Index(1), .trim = Index(1)}},
                     0});
  EXPECT_EQ(core.commit(), Index(0));
}

// It comes back with what it had durable.
TEST(Core, ARestartedMemberHasAppliedNothingUntilItSaysSo) {
  Core core = Follower({}, Index(0));
  for (uint64_t i = 0; i <= CoreOptions().election_ticks_max; ++i) core.Step(Tick{});
  const auto perform = [&core] {
    for (Ready ready = core.TakeReady(); !ready.empty(); ready = core.TakeReady()) {
      if (ready.persist) core.Step(Persisted{ready.persist->id});
    }
  };
  const auto hear = [&](MessageBody body) {
    core.Step(Received{Message{NodeId(3), NodeId(2), core.term(), std::move(body)}, 0});
    perform();
  };
  perform();
  core.Step(
      Received{Message{NodeId(3), NodeId(2), core.term().Next(), VoteAck{true, true, ""}}, 0});
  perform();
  hear(VoteAck{false, true, ""});
  ASSERT_EQ(core.role(), Role::kLeader);
  hear(AppendAck{.match = Index(1), .applied = Index(1)});
  EXPECT_EQ(core.progress().at(NodeId(3)).applied, Index(1));
  core.Step(LinkDown{NodeId(3)});
  core.Step(LinkUp{NodeId(3)});
  EXPECT_EQ(core.progress().at(NodeId(3)).applied, Index(0));
}

TEST(Log, ForgettingKeepsTheBudget) {
  Log log(LogPoint(), {}, Index(0), {}, /*step_bytes=*/1000);
  for (int i = 0; i < 100; ++i) log.Append(Next(log.last(), 1, std::string(100, 'x')));
  const uint64_t each = log.At(Index(1))->bytes();
  const Index before = log.FirstWithin(50 * each);
  log.Forget(Index(before.value() - 1));
  EXPECT_EQ(log.FirstWithin(50 * each), before);
  log.Forget(Index(before.value() - 2));
  EXPECT_LE(log.FirstWithin(50 * each), before);
}

// Large entries are trimmed before there are many of them, small ones not one by one.
TEST(Log, AStepIsSoManyBytes) {
  Log log(LogPoint(), {}, Index(0), {}, /*step_bytes=*/1000);
  while (!log.HasStepUpTo(log.last_index())) {
    ASSERT_LT(log.last_index(), Index(100));
    log.Append(Next(log.last(), 1, std::string(100, 'x')));
  }
  const uint64_t each = log.At(Index(1))->bytes();
  EXPECT_GE(log.last_index().value() * each, 1000u);
  EXPECT_LE(log.last_index().value() * each, 3000u + each);
  const Index trimmed = log.last_index().Previous();
  log.Forget(trimmed);
  EXPECT_FALSE(log.HasStepUpTo(log.last_index()));
  while (!log.HasStepUpTo(log.last_index())) {
    log.Append(Next(log.last(), 1, std::string(3000, 'x')));
  }
  EXPECT_LE(log.last_index() - trimmed, 4u);
}

// They are taken for of one size, so that a start does not trim all of them at once.
TEST(Log, WhatWasThereBeforeCountsInSteps) {
  const LogPoint base{{Term(1), Index(1000)}, 1, Revision(1000)};
  Log log(base, {}, Index(1000), {.after = Index(500), .bytes = 50'000}, 1);
  EXPECT_EQ(log.FirstWithin(50'000), Index());
  const Index half = log.FirstWithin(25'000);
  EXPECT_GE(half, Index(745));
  EXPECT_LE(half, Index(760));
  EXPECT_GT(log.FirstWithin(0), Index(1000));
}

TEST(Log, StepsOfWhatWasThereBeforeAreNoSmaller) {
  const LogPoint base{{Term(1), Index(1000)}, 1, Revision(1000)};
  Log log(base, {}, Index(1000), {.after = Index(0), .bytes = 50'000}, /*step_bytes=*/20'000);
  EXPECT_FALSE(log.HasStepUpTo(Index(300)));
  EXPECT_TRUE(log.HasStepUpTo(Index(500)));
}

TEST(Log, KnowsWhereItsNewestBytesBegin) {
  Log log(LogPoint(), {}, Index(0), {}, /*step_bytes=*/1);
  std::vector<EntryPtr> entries;
  for (int i = 0; i < 10; ++i) {
    entries.push_back(Next(log.last(), 1, std::string(100, 'x')));
    log.Append(entries.back());
  }
  const uint64_t each = entries[0]->bytes();
  EXPECT_EQ(log.FirstWithin(10 * each), Index());
  EXPECT_EQ(log.FirstWithin(4 * each), Index(7));
  EXPECT_EQ(log.FirstWithin(each - 1), Index(11));
  log.TruncateFrom(Index(8));
  EXPECT_EQ(log.FirstWithin(4 * each), Index(4));
  log.Forget(Index(5));
  EXPECT_EQ(log.FirstWithin(2 * each), Index(6));
  log.Reset({{{Term(1), Index(20)}, 1, Revision(20)}, {}});
  EXPECT_EQ(log.FirstWithin(0), Index());
  EXPECT_EQ(log.last_index(), Index(20));
}

// R2: what was written before the log began anew says nothing of what is in it now.
TEST(Log, CompletionsOfWritesBeforeAResetCountForNothing) {
  Log log(LogPoint(), {}, Index(0));
  log.Append(Next(log.last(), 1, "old"));
  log.TakeUnwritten(1, 0);
  const LogBase base{{{Term(2), Index(1)}, 9, Revision(1)}, {}};
  log.Reset(base);
  log.Append(Next(log.last(), 2, "new"));
  const LogWrite write = log.TakeUnwritten(2, 0);
  EXPECT_EQ(write.reset, base);
  ASSERT_EQ(write.entries.size(), 1u);
  log.OnPersisted(1);
  EXPECT_EQ(log.durable(), Index(1));
  log.OnPersisted(2);
  EXPECT_EQ(log.durable(), Index(2));
}

}  // namespace
}  // namespace skein
