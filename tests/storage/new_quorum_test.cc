// One survivor of a lost majority goes on alone, with all that its disk has: whole or not at all.
#include "storage/new_quorum.h"

#include <filesystem>
#include <optional>

#include "common/error.h"
#include "gtest/gtest.h"
#include "replication/core/forced_quorum.h"
#include "storage/file_util.h"
#include "storage/text_record.h"
#include "tests/support/storage_entries.h"
#include "tests/support/storage_event_log.h"
#include "tests/support/storage_faulty_fs.h"
#include "tests/support/temp_dir.h"

namespace skein {
namespace {

constexpr uint64_t kNow = 1'700'000'000'000;
constexpr uint64_t kPeerIncarnation = 77;

class NewQuorumTest : public testing::Test {
 protected:
  NewQuorumTest() {
    options_.log_memtable_bytes = 1 << 20;
    options_.state_memtable_bytes = 256 << 10;
    options_.state_block_cache_bytes = 1 << 20;
    PowerOn();
  }

  void PowerOn() {
    fs_ = std::make_shared<FaultyFs>();
    fs_->OmitRealSyncs();
    envs_.push_back(NewEnvOver(fs_));
    options_.env = envs_.back().get();
  }

  // n1 of n1, n2 and n3, which has met n2: 20 commands in its log, of which it knows that 15 are
  // committed; 10 are applied.
  void MakeNode(const Membership& members = MembersNamed({"n1", "n2", "n3"})) {
    std::filesystem::remove_all(path_);
    const auto directory = DataDirectory::Open(path_, "prod", "n1");
    ASSERT_TRUE(directory.ok()) << directory.status();
    incarnation_ = (*directory)->identity().incarnation;
    ASSERT_TRUE((*directory)->CheckPeer(NodeIdOf("n2"), kPeerIncarnation).ok());
    auto log = RocksLogStore::Open(options_, path_, members);
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Recover().ok());
    entries_ = EntryChain().Puts(Term(3), 20);
    const HardState hard_state{.term = Term(4), .vote = NodeIdOf("n2"), .commit = Index(15)};
    ASSERT_TRUE((*log)->WriteAtOnce({.hard_state = hard_state, .entries = entries_}).ok());
    Apply(10);
  }
  // The state shows the first entries, durably.
  void Apply(size_t count) {
    EventLog events;
    auto state = KvStateMachine::Open(options_, path_);
    ASSERT_TRUE(state.ok()) << state.status();
    const size_t applied = (*state)->Recovered().at.index.value();
    (*state)->Start(&events);
    (*state)->Apply({entries_.begin() + static_cast<long>(applied),
                     entries_.begin() + static_cast<long>(count)});
    ASSERT_TRUE(events.WaitUntil([count](const std::vector<Event>& all) {
      const auto done = EventLog::AllOf<Applied>(all);
      return !done.empty() && done.back().index == Index(count);
    }));
    ASSERT_TRUE((*state)->Flush().ok());
  }

  absl::Status Force(bool accept_lost = false) {
    const auto quorum = NewQuorum::Open(options_, path_);
    return quorum.ok() ? (*quorum)->Force(accept_lost, kNow) : quorum.status();
  }
  std::string Refusal(bool accept_lost = false) {
    const absl::Status refused = Force(accept_lost);
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    return MessageOf(refused);
  }
  LogRecovery RecoverLog() {
    auto log = RocksLogStore::Open(options_, path_, Membership{});
    EXPECT_TRUE(log.ok()) << log.status();
    auto recovery = (*log)->Recover();
    EXPECT_TRUE(recovery.ok()) << recovery.status();
    return *recovery;
  }
  void ExpectAsBefore() {
    const auto directory = DataDirectory::Open(path_, "prod", "n1");
    ASSERT_TRUE(directory.ok()) << directory.status();
    EXPECT_EQ((*directory)->identity().history, 0u);
    const LogRecovery recovery = RecoverLog();
    EXPECT_TRUE(recovery.memberships.empty());
    EXPECT_EQ(recovery.last, entries_.back()->point());
    EXPECT_EQ(recovery.hard_state.term, Term(4));
  }
  // The log ends with the new membership, after `kept` of the entries.
  void ExpectRecovered(size_t kept) {
    const auto directory = DataDirectory::Open(path_, "prod", "n1");
    ASSERT_TRUE(directory.ok()) << directory.status();
    const Identity& identity = (*directory)->identity();
    EXPECT_NE(identity.history, 0u);
    EXPECT_EQ(identity.cluster_id, ClusterIdOf("prod", identity.history));
    EXPECT_NE(identity.cluster_id, ClusterIdOf("prod"));
    EXPECT_EQ(identity.incarnation, incarnation_);
    EXPECT_TRUE((*directory)->CheckPeer(NodeIdOf("n2"), kPeerIncarnation + 1).ok())
        << "what n2 showed before is forgotten";
    const LogRecovery recovery = RecoverLog();
    ASSERT_EQ(recovery.memberships.size(), 1u);
    const Membership& members = recovery.memberships[0].membership;
    ASSERT_EQ(members.members.size(), 1u);
    const Member self{.id = NodeIdOf("n1"),
                      .name = "n1",
                      .address = "n1:7411",
                      .voter = true,
                      .incarnation = incarnation_};
    EXPECT_EQ(members.members[0], self);
    EXPECT_EQ(recovery.last.at, (Position{recovery.hard_state.term, Index(kept + 1)}));
    EXPECT_EQ(recovery.hard_state.term, Term(kTermsOfHistory));
    EXPECT_EQ(recovery.hard_state.vote, NodeIdOf("n1"));
    EXPECT_LE(recovery.acknowledged, recovery.last.at.index) << "nothing is owed";
    ASSERT_FALSE(recovery.tail.empty());
    EXPECT_EQ(recovery.tail.back()->cluster_time_ms(), kNow);
    EXPECT_EQ(recovery.last.revision, Revision(kept));
    if (recovery.base.point.at.index == Index(0)) {
      EXPECT_TRUE(recovery.tail.back()->Follows(entries_[kept - 1]->point()));
    }
  }
  // The newest write-ahead log of the log database loses what was written last.
  void LoseEndOfLog() {
    std::filesystem::path newest;
    for (const auto& file : std::filesystem::directory_iterator(path_ + "/log")) {
      if (file.path().extension() == ".log" && file.file_size() > 0 &&
          file.path().filename() > newest.filename()) {
        newest = file.path();
      }
    }
    ASSERT_FALSE(newest.empty());
    std::filesystem::resize_file(newest, std::filesystem::file_size(newest) / 2);
  }
  // Ten more entries of which the log loses at least the last, which may leave these members.
  void AppendAndLose(const std::optional<Membership>& left = std::nullopt) {
    {
      auto log = RocksLogStore::Open(options_, path_, Membership{});
      ASSERT_TRUE(log.ok() && (*log)->Recover().ok());
      EntryChain chain(entries_.back()->point());
      for (int i = 0; i < 10; ++i) {
        entries_.push_back(
            left && i == 9 ? chain.Change(Term(4), *left)
                           : chain.Put(Term(4), "more" + std::to_string(i), std::string(400, 'm')));
        ASSERT_TRUE((*log)->WriteAtOnce({.entries = {entries_.back()}}).ok());
      }
    }
    LoseEndOfLog();
  }

  TempDir temp_;
  const std::string path_ = temp_.File("data");
  StorageOptions options_;
  std::shared_ptr<FaultyFs> fs_;
  std::vector<std::unique_ptr<rocksdb::Env>> envs_;
  std::vector<EntryPtr> entries_;
  uint64_t incarnation_ = 0;
};

TEST_F(NewQuorumTest, TellsWhatTheNodeKnows) {
  MakeNode();
  const auto quorum = NewQuorum::Open(options_, path_);
  ASSERT_TRUE(quorum.ok()) << quorum.status();
  const Survivor& survivor = (*quorum)->survivor();
  EXPECT_EQ(survivor.identity.node_name, "n1");
  EXPECT_EQ(survivor.membership, MembersNamed({"n1", "n2", "n3"}));
  EXPECT_EQ(survivor.last, entries_.back()->point());
  EXPECT_EQ(survivor.term, Term(4));
  EXPECT_EQ(survivor.committed, Index(15));
  EXPECT_EQ(survivor.applied, Index(10));
  EXPECT_EQ(survivor.uncommitted_commands, 5u);
  EXPECT_FALSE(survivor.HasLostEntries());
  EXPECT_TRUE((*quorum)->Check(false).ok());
}

TEST_F(NewQuorumTest, ALookChangesNothing) {
  MakeNode();
  EXPECT_TRUE(NewQuorum::Open(options_, path_).ok());
  ExpectAsBefore();
}

TEST_F(NewQuorumTest, TheSurvivorIsTheOnlyVoterOfANewHistory) {
  MakeNode();
  const absl::Status forced = Force();
  ASSERT_TRUE(forced.ok()) << forced;
  ExpectRecovered(20);
  EXPECT_NE(Refusal().find("is the only voter of its cluster already"), std::string::npos);
}

TEST_F(NewQuorumTest, EachRecoveryBeginsAnotherHistory) {
  MakeNode();
  ASSERT_TRUE(Force().ok());
  const uint64_t first = (*DataDirectory::Peek(path_))->history;
  MakeNode();
  ASSERT_TRUE(Force().ok());
  EXPECT_NE((*DataDirectory::Peek(path_))->history, first);
}

// Whatever was elected since the one before.
TEST_F(NewQuorumTest, TheTermsOfAHistoryAreAboveThoseOfAllBefore) {
  LogRecovery recovery{.hard_state = {.term = Term(kTermsOfHistory + 17)}};
  const LogWrite write =
      ForceQuorum(recovery, MembersNamed({"n1", "n2"}), NodeIdOf("n1"), /*incarnation=*/1, kNow);
  EXPECT_EQ(write.hard_state->term, Term(2 * kTermsOfHistory));
  EXPECT_EQ(write.entries[0]->term(), Term(2 * kTermsOfHistory));
}

TEST_F(NewQuorumTest, ALearnerBecomesAVoter) {
  Membership members = MembersNamed({"n1", "n2", "n3"});
  for (Member& member : members.members) {
    member.voter = member.name != "n1";
    member.never_votes = !member.voter;
    if (!member.voter) member.upstream = NodeIdOf("n2");
  }
  MakeNode(members);
  const absl::Status forced = Force();
  ASSERT_TRUE(forced.ok()) << forced;
  ExpectRecovered(20);
  EXPECT_EQ(RecoverLog().memberships[0].membership.RequiredVersion(), 2u);
}

TEST_F(NewQuorumTest, WhatIsNoSurvivorIsRefused) {
  EXPECT_NE(Refusal().find("is not a data directory"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path_)) << "nothing was made";
  MakeNode();
  {
    const auto holder = DataDirectory::Open(path_, "prod", "n1");
    ASSERT_TRUE(holder.ok());
    EXPECT_NE(Refusal().find("is in use by process"), std::string::npos);
  }
  ExpectAsBefore();
  MakeNode(MembersNamed({"n2", "n3"}));
  EXPECT_NE(Refusal().find("n1 was removed from the cluster"), std::string::npos);
  MakeNode(MembersNamed({"n1"}));
  EXPECT_NE(Refusal().find("is the only voter"), std::string::npos);
  ExpectAsBefore();
  ASSERT_TRUE(ReplaceFile(path_ + "/identity", EncodeTextRecord({{"format", "2"}})).ok());
  EXPECT_NE(Refusal().find("was written by a newer version"), std::string::npos);
}

TEST_F(NewQuorumTest, ANodeWithoutALogIsRefused) {
  ASSERT_TRUE(DataDirectory::Open(path_, "prod", "n1").ok());
  EXPECT_NE(Refusal().find("holds no log"), std::string::npos);
}

// It has joined, and no more: it does not even know how many histories there were.
TEST_F(NewQuorumTest, ANodeThatHasReceivedNothingIsRefused) {
  ASSERT_TRUE(DataDirectory::Open(path_, "prod", "n1").ok());
  {
    auto log = RocksLogStore::Open(options_, path_, MembersNamed({"n1", "n2"}));
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Recover().ok());
  }
  EXPECT_NE(Refusal(/*accept_lost=*/true).find("has received nothing"), std::string::npos);
}

TEST_F(NewQuorumTest, ALogThatLostItsEndMustBeAccepted) {
  MakeNode();
  AppendAndLose();
  EXPECT_NE(Refusal().find("has acknowledged 30"), std::string::npos);
  const LogRecovery damaged = RecoverLog();
  ASSERT_LT(damaged.last.at.index, Index(30)) << "nothing was lost";
  EXPECT_EQ(damaged.acknowledged, Index(30)) << "the refusal has changed nothing";
  const absl::Status forced = Force(/*accept_lost=*/true);
  ASSERT_TRUE(forced.ok()) << forced;
  ExpectRecovered(damaged.last.at.index.value());
}

TEST_F(NewQuorumTest, WhatIsAppliedIsKeptThoughTheLogHasLostIt) {
  MakeNode();
  AppendAndLose();
  ASSERT_LT(RecoverLog().last.at.index, Index(30)) << "nothing was lost";
  Apply(30);
  EXPECT_NE(Refusal().find("has acknowledged 30"), std::string::npos);
  const absl::Status forced = Force(/*accept_lost=*/true);
  ASSERT_TRUE(forced.ok()) << forced;
  ExpectRecovered(30);
  EXPECT_EQ(RecoverLog().base.point, entries_.back()->point());
}

// The log begins anew with the state, which knows better.
TEST_F(NewQuorumTest, ARemovalThatOnlyTheStateKnowsCounts) {
  MakeNode();
  AppendAndLose(MembersNamed({"n2", "n3"}));
  ASSERT_LT(RecoverLog().last.at.index, Index(30)) << "nothing was lost";
  Apply(30);
  EXPECT_NE(Refusal(/*accept_lost=*/true).find("was removed"), std::string::npos);
}

// There is nobody whom it could fetch the rest from, and no node starts on it as it is.
TEST_F(NewQuorumTest, AnOnlyVoterGoesOnWithoutWhatItHasLost) {
  MakeNode(MembersNamed({"n1"}));
  EXPECT_NE(Refusal().find("nothing to recover"), std::string::npos);
  AppendAndLose();
  EXPECT_NE(Refusal().find("has acknowledged 30"), std::string::npos);
  const absl::Status forced = Force(/*accept_lost=*/true);
  ASSERT_TRUE(forced.ok()) << forced;
  const LogRecovery recovery = RecoverLog();
  EXPECT_LT(recovery.last.at.index, Index(30));
  EXPECT_EQ(recovery.last.at.term, Term(kTermsOfHistory));
  EXPECT_EQ(recovery.acknowledged, recovery.last.at.index);
}

// It has lost all that came after the recovery before, whose entry is not this one's.
TEST_F(NewQuorumTest, ALogThatEndsWithAnEarlierRecoveryGetsAnotherEntry) {
  for (const bool broken_off : {false, true}) {
    MakeNode();
    ASSERT_TRUE(Force().ok());
    const LogPoint first = RecoverLog().last;
    const Term elected = first.at.term.Next();
    for (const LogWrite& write :
         {LogWrite{.hard_state = HardState{.term = elected, .vote = NodeIdOf("n1")}},
          LogWrite{.entries = {EntryChain(first).Put(elected, "k", std::string(400, 'v'))}}}) {
      auto log = RocksLogStore::Open(options_, path_, Membership{});
      ASSERT_TRUE(log.ok() && (*log)->Recover().ok());
      ASSERT_TRUE((*log)->WriteAtOnce(write).ok());
    }
    LoseEndOfLog();
    ASSERT_EQ(RecoverLog().last, first);
    if (broken_off) {  // before the log's entry
      const auto directory = DataDirectory::OpenExisting(path_);
      ASSERT_TRUE(directory.ok());
      ASSERT_TRUE((*directory)->BeginHistory(NewHistoryOf("prod")).ok());
    }
    ASSERT_TRUE(Force(/*accept_lost=*/true).ok());
    EXPECT_EQ(RecoverLog().last.at, (Position{Term(2 * kTermsOfHistory), first.at.index.Next()}));
  }
}

// Old, or new, or such that no node starts and the same again finishes it.
TEST_F(NewQuorumTest, ACrashAtAnyChangeOfTheDiskLeavesNothingHalf) {
  int old = 0;
  int unfinished = 0;
  bool crashed = true;
  for (uint64_t point = 1; crashed; ++point) {
    SCOPED_TRACE(point);
    ASSERT_NO_FATAL_FAILURE(MakeNode());
    fs_->CrashAtChange(fs_->changes() + point, {.sound_bytes = point * 97 % 300});
    const absl::Status forced = Force();
    crashed = fs_->crashed();
    PowerOn();
    const auto identity = DataDirectory::Peek(path_);
    ASSERT_TRUE(identity.ok() && identity->has_value());
    if (!(*identity)->recovery_unfinished && (*identity)->history == 0) {
      ++old;
      EXPECT_FALSE(forced.ok());
      ExpectAsBefore();
    }
    if ((*identity)->recovery_unfinished) {
      ++unfinished;
      EXPECT_FALSE(forced.ok());
      const auto opened = DataDirectory::Open(path_, "prod", "n1");
      EXPECT_NE(MessageOf(opened.status()).find("was begun and not finished"), std::string::npos);
    }
    if (!forced.ok()) {
      const absl::Status again = Force();
      ASSERT_TRUE(again.ok()) << again;
    }
    ExpectRecovered(20);
    if ((*identity)->recovery_unfinished) {
      EXPECT_EQ((*DataDirectory::Peek(path_))->history, (*identity)->history);
    }
  }
  EXPECT_GT(old, 5);
  EXPECT_GT(unfinished, 1);
}

// The last step of all, which is no change of a database.
TEST_F(NewQuorumTest, ACrashBeforeTheEndIsFinishedWithoutASecondEntry) {
  MakeNode();
  std::string unfinished;
  {
    const auto directory = DataDirectory::OpenExisting(path_);
    ASSERT_TRUE(directory.ok());
    ASSERT_TRUE((*directory)->BeginHistory(NewHistoryOf("prod")).ok());
    unfinished = *ReadFile(path_ + "/identity");
  }
  ASSERT_TRUE(Force().ok());
  const LogPoint last = RecoverLog().last;
  ASSERT_TRUE(ReplaceFile(path_ + "/identity", unfinished).ok());
  ASSERT_TRUE(Force().ok());
  EXPECT_EQ(RecoverLog().last, last);
  ExpectRecovered(20);
}

}  // namespace
}  // namespace skein
