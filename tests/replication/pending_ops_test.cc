#include "replication/pending_ops.h"

#include <gtest/gtest.h>

#include <optional>

namespace skein {
namespace {

// One caller, and what it heard.
struct Caller {
  int answers = 0;
  ProposalResult result;

  Proposal Ask(AckLevel level, uint32_t commands = 1, bool wants_outcomes = false) {
    Proposal proposal;
    proposal.payload = "x";
    proposal.command_count = commands;
    proposal.level = level;
    proposal.wants_outcomes = wants_outcomes;
    proposal.all_deadline_us = 500;
    proposal.deadline_us = 1000;
    proposal.done = [this](ProposalResult heard) {
      ++answers;
      result = std::move(heard);
    };
    return proposal;
  }
  bool Heard(Outcome outcome) const { return answers == 1 && result.outcome == outcome; }
};

EntryPtr EntryAt(uint64_t term, uint64_t index, uint32_t commands, uint64_t revision_before) {
  return Entry::Build({{Term(term), Index(index - 1)}, 0, Revision(revision_before)}, Term(term),
                      EntryType::kCommands, commands, 0, "");
}

std::vector<Proposal> Batch(Proposal a) {
  std::vector<Proposal> batch;
  batch.push_back(std::move(a));
  return batch;
}

TEST(PendingOps, AnswersEachLevelWhenItIsReached) {
  PendingOps pending;
  Caller leader, quorum, all;
  std::vector<Proposal> batch;
  batch.push_back(leader.Ask(AckLevel::kLeader));
  batch.push_back(quorum.Ask(AckLevel::kQuorum, 3));
  batch.push_back(all.Ask(AckLevel::kAll));
  pending.Add(*EntryAt(1, 5, 5, 10), std::move(batch));

  pending.OnDurable(Term(1), Index(4));
  EXPECT_EQ(leader.answers, 0);
  pending.OnDurable(Term(1), Index(5));
  EXPECT_TRUE(leader.Heard(Outcome::kOk));
  EXPECT_EQ(leader.result.reached, AckLevel::kLeader);
  EXPECT_EQ(leader.result.first_revision, Revision(11));
  EXPECT_EQ(quorum.answers, 0);

  pending.OnCommitted(Term(1), Index(5));
  EXPECT_TRUE(quorum.Heard(Outcome::kOk));
  EXPECT_EQ(quorum.result.reached, AckLevel::kQuorum);
  EXPECT_EQ(quorum.result.first_revision, Revision(12));

  pending.OnApplied({Index(5), Revision(15), {}});
  EXPECT_EQ(all.answers, 0);
  pending.OnAllApplied(Index(5));
  EXPECT_TRUE(all.Heard(Outcome::kOk));
  EXPECT_EQ(all.result.reached, AckLevel::kAll);
  EXPECT_EQ(all.result.first_revision, Revision(15));
  EXPECT_TRUE(pending.empty());
}

TEST(PendingOps, TellsWhichDeletesFoundTheirKey) {
  PendingOps pending;
  Caller caller;
  pending.Add(*EntryAt(1, 1, 3, 0), Batch(caller.Ask(AckLevel::kQuorum, 3, true)));
  pending.OnCommitted(Term(1), Index(1));
  EXPECT_EQ(caller.answers, 0);  // the answer needs the state machine
  pending.OnApplied({Index(1), Revision(3), {{Revision(2), true}, {Revision(3), false}}});
  ASSERT_TRUE(caller.Heard(Outcome::kOk));
  EXPECT_EQ(caller.result.deleted, std::vector<Revision>{Revision(2)});
}

// R6: another term's entry was committed in its place, so the command was certainly never applied.
TEST(PendingOps, RejectsWhenAnotherEntryTookThePlace) {
  PendingOps pending;
  Caller lost, kept;
  pending.Add(*EntryAt(1, 7, 1, 0), Batch(kept.Ask(AckLevel::kQuorum)));
  pending.Add(*EntryAt(1, 8, 1, 1), Batch(lost.Ask(AckLevel::kQuorum)));
  pending.OnCommittedEntry({Term(1), Index(7)});
  EXPECT_TRUE(kept.Heard(Outcome::kOk));
  pending.OnCommittedEntry({Term(2), Index(8)});
  EXPECT_TRUE(lost.Heard(Outcome::kRejected));
}

TEST(PendingOps, DoesNotCountAnotherTermsCommit) {
  PendingOps pending;
  Caller caller;
  pending.Add(*EntryAt(1, 8, 1, 0), Batch(caller.Ask(AckLevel::kQuorum)));
  pending.OnCommitted(Term(3), Index(9));
  pending.OnDurable(Term(3), Index(9));
  EXPECT_EQ(caller.answers, 0);
  pending.OnCommittedEntry({Term(2), Index(8)});
  EXPECT_TRUE(caller.Heard(Outcome::kRejected));
}

// A node that leads again appends at indexes where callers of its earlier leadership still wait.
TEST(PendingOps, KeepsTwoLeadershipsApart) {
  PendingOps pending;
  Caller old, fresh, last;
  pending.Add(*EntryAt(5, 102, 1, 0), Batch(old.Ask(AckLevel::kQuorum)));
  pending.Add(*EntryAt(5, 104, 1, 1), Batch(last.Ask(AckLevel::kQuorum)));
  pending.Add(*EntryAt(7, 103, 1, 1), Batch(fresh.Ask(AckLevel::kQuorum)));
  pending.OnCommittedEntry({Term(7), Index(102)});
  EXPECT_TRUE(old.Heard(Outcome::kRejected));
  pending.OnCommitted(Term(7), Index(103));
  EXPECT_TRUE(fresh.Heard(Outcome::kOk));
  EXPECT_EQ(last.answers, 0);
  pending.OnCommittedEntry({Term(7), Index(104)});
  EXPECT_TRUE(last.Heard(Outcome::kRejected));
}

TEST(PendingOps, AnswersUnknownWhenTheTimeIsOver) {
  PendingOps pending;
  Caller caller;
  pending.Add(*EntryAt(1, 1, 1, 0), Batch(caller.Ask(AckLevel::kQuorum)));
  pending.Expire(999);
  EXPECT_EQ(caller.answers, 0);
  pending.Expire(1000);
  EXPECT_TRUE(caller.Heard(Outcome::kUnknown));
  EXPECT_TRUE(pending.empty());
}

TEST(PendingOps, AllFallsBackToQuorumWhenTheWaitIsOver) {
  PendingOps pending;
  Caller caller;
  pending.Add(*EntryAt(1, 1, 1, 0), Batch(caller.Ask(AckLevel::kAll)));
  pending.Expire(600);  // not even committed: goes on waiting
  EXPECT_EQ(caller.answers, 0);
  pending.OnCommitted(Term(1), Index(1));
  pending.OnApplied({Index(1), Revision(1), {}});
  pending.Expire(600);
  ASSERT_TRUE(caller.Heard(Outcome::kOk));
  EXPECT_EQ(caller.result.reached, AckLevel::kQuorum);
}

TEST(PendingOps, AnswersEverybodyAtTheEnd) {
  PendingOps pending;
  Caller a, b;
  pending.Add(*EntryAt(1, 1, 1, 0), Batch(a.Ask(AckLevel::kQuorum)));
  pending.Add(*EntryAt(1, 2, 1, 1), Batch(b.Ask(AckLevel::kAll)));
  pending.FailAll();
  EXPECT_TRUE(a.Heard(Outcome::kUnknown));
  EXPECT_TRUE(b.Heard(Outcome::kUnknown));
}

}  // namespace
}  // namespace skein
