// The protocol, as a function: events go in by Step, Propose and ReadIndex; what must be done comes
// out by TakeReady. No I/O, thread, clock or randomness of its own. The rules that its comments
// cite (R4) are in docs/replication.md.
//
// Use from one thread. After any call that changes it, take the Ready and perform it.
//
// Invariants (CheckInvariants):
//  1. term and vote never go back; at most one vote in a term.
//  2. applied <= commit, commit <= last, durable <= last.
//  3. A committed entry is never truncated.
//  4. A message that depends on term or vote leaves only once they are durable (R1).
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/random.h"
#include "replication/core/election_timer.h"
#include "replication/core/event.h"
#include "replication/core/log.h"
#include "replication/core/membership_change.h"
#include "replication/core/options.h"
#include "replication/core/progress.h"
#include "replication/core/read_index_queue.h"
#include "replication/core/ready.h"
#include "replication/core/recovery.h"

namespace skein {

// What became of a proposal.
enum class ProposeStatus : uint8_t {
  kAppended = 0,      // in this leader's log, at `ProposeResult::entry`
  kNotLeader = 1,     // not appended
  kQueueFull = 2,     // not appended: too much is uncommitted (R19)
  kTransferring = 3,  // not appended: leadership is being handed over (R28)
};

struct ProposeResult {
  ProposeStatus status = ProposeStatus::kNotLeader;
  EntryPtr entry;  // when appended
};

struct ChangeResult {
  absl::Status status;  // why not appended; kUnavailable: try again, perhaps elsewhere
  EntryPtr entry;       // when appended
};

// How much waits where there is a limit (R19), beside what Log and Progress tell.
struct QueueSizes {
  uint64_t applying_bytes = 0;
  size_t reads = 0;
  size_t stamps = 0;
  size_t log_reads = 0;
};

class Core {
 public:
  // `recovery` is what the log held, `applied` what the state machine holds.
  Core(const CoreOptions& options, NodeId self, LogRecovery recovery, const LogPoint& applied,
       Random random);

  void Step(const Event& event);

  // Appends a batch of commands, if this node leads. `cluster_time_ms` never goes back in the log:
  // the larger of it and the predecessor's is taken (R33).
  ProposeResult Propose(uint32_t command_count, uint64_t cluster_time_ms, std::string_view payload);

  // Appends a change of the membership, if this node leads and may (R22, R24, R25).
  ChangeResult ProposeChange(const MembershipChange& change, uint64_t cluster_time_ms);
  // Why it would not propose it now, as far as that is not for the membership itself to say.
  absl::Status RefuseChange(const MembershipChange& change) const;

  // Hands leadership over (R28), to the most advanced voter if `target` is 0: takes no proposals
  // until it is over, which Ready::transfer_over tells. Not OK: why it is not even tried.
  absl::Status Transfer(NodeId target);

  // Asks for the index that a linearizable read needs. Answered in Ready::reads, on the leader
  // after a heartbeat round (R14), on a follower after asking the leader (R15).
  void ReadIndex(uint64_t id);

  // Everything that is due now.
  Ready TakeReady();

  NodeId self() const { return self_; }
  Role role() const { return role_; }
  Term term() const { return term_; }
  NodeId vote() const { return vote_; }
  NodeId leader() const { return leader_; }
  // The newest in the log, committed or not (R23), and the index of its entry.
  const Membership& membership() const { return memberships_.back().membership; }
  MembershipsInForce memberships() const;
  // A leader on its way out: it should take no proposals any more.
  bool IsLeaving() const {
    return transfer_.has_value() || (role_ == Role::kLeader && !membership().IsVoter(self_));
  }
  bool transferring() const { return transfer_.has_value(); }
  // The snapshot that this node is fetching or installing; null: none.
  const SnapshotReport* incoming() const { return incoming_ ? &incoming_->report : nullptr; }
  const Log& log() const { return log_; }
  Index commit() const { return log_.commit(); }
  Index durable() const { return log_.durable(); }
  Index applied() const { return applied_; }
  // True once an entry of this leader's own term is committed.
  bool CommittedInTerm() const { return committed_in_term_; }
  // Whom this node feeds: a leader every other member, an upstream its learners (R36).
  const std::map<NodeId, Progress>& progress() const { return progress_; }
  // One of them lacks little of the log.
  bool IsLevel(const Progress& progress) const;
  // Every member has the log durable up to here; on a follower, as it was told last.
  Index all_matched() const { return all_matched_; }
  // Voters that can be reached from here, this node included, are a quorum.
  bool ReachesQuorum() const;
  bool LinkIsUp(NodeId peer) const { return links_down_.count(peer) == 0; }
  // In which version of the protocol this node talks to a peer, as of its last link; 0: unknown.
  uint32_t VersionOf(NodeId peer) const;
  // R16: everything that was acknowledged before this time of our own clock is applied here.
  // 0: nothing proven. A leader asks for a linearizable read instead.
  uint64_t fresh_stamp_us() const { return fresh_stamp_us_; }
  // The log lost entries that this node has acknowledged; it must not vote until they are back.
  bool damaged() const { return damaged_; }

  QueueSizes queues() const {
    return {applying_bytes_, ReadsWaiting(), fresh_.size(), log_reads_.size()};
  }

  // Aborts if the state contradicts itself.
  void CheckInvariants() const;

 private:
  // core.cc: events
  void OnTick();
  void OnReceived(const Received& event);
  void OnPersisted(const Persisted& event);
  void OnLogRead(const LogReadDone& event);
  void OnApplied(const Applied& event);
  void OnLinkUp(const LinkUp& event);
  void OnLinkDown(const LinkDown& event);
  bool AcceptTerm(const Message& message);
  void Dispatch(const Message& message, uint64_t received_us);

  // core_election.cc
  bool MayCampaign() const;
  void Campaign(bool pre, bool transfer, const std::string& reason);
  void SendVotes(bool pre, bool transfer);
  void CountVotes();
  void OnVote(const Message& message, const VoteMessage& vote);
  void OnVoteAck(const Message& message, const VoteAck& ack);
  void OnTimeoutNow(const Message& message);
  std::string RefuseVote(const Message& message, const VoteMessage& vote) const;
  bool HearsLiveLeader() const;
  void BecomeFollower(Term term, NodeId leader, const std::string& reason);
  void BecomeLeader(size_t votes);
  NodeId BestVoter() const;
  void SetTerm(Term term, NodeId vote);
  bool DiskHangs(uint64_t ticks) const;
  bool StateHangs() const;
  // RocksDB holds up a writer for seconds when compaction has to catch up.
  uint64_t StateStallTicks() const { return 5 * options_.stall_ticks; }
  void GiveUpForStall();
  void OnElectionTimeout();

  // core_leader.cc
  void LeaderTick();
  void OnAppendAck(const Message& message, const AppendAck& ack);
  void OnHeartbeatAck(const Message& message, const HeartbeatAck& ack);
  void OnReadIndex(const Message& message, const ReadIndexMessage& read);
  void AddRead(ReadRequest request);
  size_t ReadsWaiting() const;
  void StartRound();
  void ConfirmRounds();
  void AnswerRead(const ReadRequest& request, bool granted);
  void MaybeCommit();
  void UpdateAllMatched();
  void SendAppends();
  bool SendAppend(NodeId to, Progress* progress);
  Index LogGoesOnAfter() const;
  bool RequestLogRead(NodeId to, Progress* progress);
  void SendCommits();

  // core_follower.cc
  void FollowLeader(const Message& message);
  void OnAppend(const Message& message, const AppendMessage& append);
  void RejectAppend(const Message& message, const AppendMessage& append);
  bool TakeEntries(const AppendMessage& append);
  void OnHeartbeat(const Message& message, const HeartbeatMessage& heartbeat, uint64_t received_us);
  void OnReadIndexAck(const Message& message, const ReadIndexAck& ack);
  void ForwardReads();
  void FailForwardedReads();
  void UpdateFreshness();
  void CheckRepaired();
  Index AckMatch() const;
  void AckAppends();

  // core_relay.cc
  void ChooseFeeders();
  NodeId FeederOf(NodeId id, const Progress& progress) const;
  bool NeedsSnapshot(NodeId id, const Progress& progress) const;
  bool MayFeed(NodeId feeder, const Progress& learner) const;
  std::vector<Feed> FeedsOf(NodeId feeder) const;
  void FeedingTick(NodeId id, Progress* progress);
  void TakeFeeds(const HeartbeatMessage& heartbeat);
  void UpstreamTick();
  Index SendLimit() const;

  // core_membership.cc
  EntryPtr Append(EntryType type, uint32_t commands, uint64_t cluster_time_ms,
                  std::string_view payload);
  absl::Status RefuseIfNotUnderstood(const Membership& next) const;
  absl::Status RefuseIfBehind(NodeId id) const;
  bool Reaches(const Progress& progress) const;
  Index AddedAgainAt(NodeId id) const;
  absl::Status RefuseRemoval(const RemoveMember& change) const;
  bool AppendMembership(const Entry& entry);
  void TruncateFrom(Index first);
  void UseMembership();
  void MaybePromote();
  void LeaveIfRemoved();
  void TransferTick();
  void MaybeTransfer();
  void EndTransfer(absl::Status how);

  // core_snapshot.cc
  void OfferSnapshot(NodeId to, Progress* progress);
  NodeId SnapshotSource(NodeId to, Index at_least) const;
  void OnSnapshotOffer(const Message& message, const SnapshotOffer& offer);
  void OnSnapshotReport(const Message& message, const SnapshotReport& report);
  void OnSnapshotFetching(const SnapshotFetching& event);
  void OnSnapshotFetched(const SnapshotFetched& event);
  void OnInstalled(const Installed& event);
  void ResetTo(const LogBase& base);
  void FailIncoming(const std::string& error);
  void ReportIncoming();
  void SnapshotTick(NodeId id, Progress* progress);

  // core_ready.cc
  void Send(NodeId to, Term term, MessageBody body);
  void Fatal(const std::string& message);
  void Notice(std::string notice) { ready_.notices.push_back(std::move(notice)); }
  uint64_t ReadLog(Index first);
  void TakeWrite();
  void TakeApply();
  void HandToState(EntryPtr entry);
  void TakeTrim();
  void TakeMembership();
  std::string NameOf(NodeId id) const;
  std::string Ago(uint64_t ticks) const;

  // Constant after construction.
  const CoreOptions options_;
  const NodeId self_;
  const Term recovered_term_;
  const Index acknowledged_;  // by this node before it started, whatever its log holds

  // Term and vote; `hard_state_write_` is the write that makes them durable.
  Term term_;
  NodeId vote_;
  bool hard_state_dirty_ = false;
  uint64_t hard_state_write_ = 0;
  uint64_t next_write_ = 1;
  uint64_t persisted_write_ = 0;

  Log log_;
  LogPoint log_base_;  // where the log began when this process did, or was reset to since
  // That of the log's beginning, and those of the changes in it.
  std::deque<MembershipAt> memberships_;
  MembershipsInForce announced_memberships_;
  bool damaged_ = false;
  Index verified_;       // equal to the current leader's log up to here
  Index leader_commit_;  // as the leader of this term said last
  Index applied_;
  Index applying_;  // handed to the state machine
  std::deque<std::pair<Index, uint64_t>> applying_bytes_each_;
  uint64_t applied_ticks_ = 0;  // since when the state machine has had something to do, or has done
  uint64_t applying_bytes_ = 0;
  Index state_durable_;
  Index all_matched_;
  Index trimmed_;
  uint64_t next_log_read_ = 1;
  std::deque<std::pair<uint64_t, uint64_t>> log_reads_;  // under way: id, and when it was asked for
  uint64_t apply_log_read_ = 0;  // the LogRead whose entries are to be applied; 0: none
  Index apply_read_to_;          // what it reads above this was not committed and may be replaced

  Role role_ = Role::kFollower;
  NodeId leader_;
  std::string role_reason_;
  RoleChange announced_;
  ElectionTimer timer_;
  uint64_t now_ticks_ = 0;
  uint64_t ticks_since_leader_ = 0;
  std::set<NodeId> links_down_;
  std::map<NodeId, uint32_t> versions_;  // of peers that were linked to since the start
  int fast_tries_left_ = 0;  // R11: elections that need not wait for the election timeout

  // A snapshot on its way to this node.
  struct Incoming {
    Term term;           // in which it was offered last
    uint64_t fetch = 0;  // 0: over
    NodeId source;
    SnapshotReport report;  // as it was, or will be, told
    bool report_due = true;
  };
  std::optional<Incoming> incoming_;
  uint64_t next_fetch_ = 1;
  bool installing_ = false;

  // Candidates.
  std::map<NodeId, bool> votes_;

  // Leader, and upstream.
  std::map<NodeId, Progress> progress_;

  // Leader.
  bool committed_in_term_ = false;
  uint64_t ticks_since_heartbeat_ = 0;
  uint64_t round_ = 0;
  uint64_t confirmed_round_ = 0;
  ReadIndexQueue reads_;
  std::vector<ReadRequest> reads_before_commit_;  // wait for an entry of this term (R14)

  struct Handover {
    NodeId target;
    uint64_t ticks_left = 0;
    bool asked = false;  // the target was told to campaign
  };
  std::optional<Handover> transfer_;
  uint64_t next_offer_ = 1;

  // Follower.
  uint64_t feeds_round_ = 0;  // the heartbeat that last told whom to feed
  NodeId feeder_;             // the upstream that sent the last append; 0: the leader did
  bool ack_due_ = false;
  Index applied_told_;                       // to the leader
  std::vector<uint64_t> forward_waiting_;    // readers whose question was not sent yet
  std::vector<uint64_t> forward_in_flight_;  // readers whose question is on its way
  // Its id; a late answer to an older one is ignored, also to one of a former process of this node.
  uint64_t forward_attempt_;
  uint64_t forward_sent_ticks_ = 0;
  std::deque<std::pair<uint64_t, Index>> fresh_;  // proven stamps that wait for their apply
  uint64_t fresh_stamp_us_ = 0;
  uint64_t first_received_us_ = 0;  // stamps from before are of another process, or another boot

  Ready ready_;
};

}  // namespace skein
