// Elections: thesis chapter 3, with pre-vote (9.6) and check-quorum; R9 to R12.
#include <algorithm>

#include "common/check.h"
#include "common/planted_bug.h"
#include "replication/core/core.h"

namespace skein {

void Core::OnElectionTimeout() {
  const std::string heard =
      leader_ == NodeId() ? "no leader known"
                          : "last heard from " + NameOf(leader_) + " " + Ago(ticks_since_leader_);
  std::string reason = "election timeout, " + heard;
  if (fast_tries_left_ > 0) {
    reason = leader_ == NodeId() ? "fast election found no winner"
                                 : NameOf(leader_) + " refuses connections";
  }
  // R12: a vote could not be made durable now, or no write applied; let a node campaign that can.
  if (!MayCampaign() || DiskHangs(options_.election_ticks_min) || StateHangs()) {
    if (leader_ != NodeId()) BecomeFollower(term_, NodeId(), reason);
    timer_.Reset();
    return;
  }
  Campaign(/*pre=*/true, /*transfer=*/false, reason);
}

// Who is to be removed is a candidate until that is committed: it may be the only one that has the
// entry (thesis 4.2.2).
bool Core::MayCampaign() const {
  const bool voter =
      membership().IsVoter(self_) ||
      (!SKEIN_PLANTED("removed-is-silent") && memberships().committed.membership.IsVoter(self_));
  return voter && !damaged() && !installing_;
}

void Core::Campaign(bool pre, bool transfer, const std::string& reason) {
  leader_ = NodeId();
  FailForwardedReads();
  role_ = pre ? Role::kPreCandidate : Role::kCandidate;
  role_reason_ = reason;
  votes_.clear();
  progress_.clear();
  feeder_ = NodeId();
  if (pre) {
    votes_[self_] = true;
  } else {
    SetTerm(term_.Next(), self_);  // counted as a vote once it is durable, see CountVotes
  }
  if (fast_tries_left_ > 0) {
    if (pre) --fast_tries_left_;
    timer_.ResetRetry();
  } else {
    timer_.Reset();
  }
  SendVotes(pre, transfer);
  CountVotes();
}

void Core::SendVotes(bool pre, bool transfer) {
  const Term term = pre ? term_.Next() : term_;
  for (const Member& member : membership().members) {
    if (!member.voter || member.id == self_) continue;
    Send(member.id, term, VoteMessage{pre, transfer, log_.last().at});
  }
}

void Core::CountVotes() {
  if (role_ == Role::kCandidate && !hard_state_dirty_ && hard_state_write_ != 0 &&
      hard_state_write_ <= persisted_write_) {
    votes_[self_] = true;
  }
  size_t granted = 0;
  size_t refused = 0;
  for (const auto& [id, yes] : votes_) {
    if (membership().IsVoter(id)) ++(yes ? granted : refused);
  }
  if (granted >= membership().QuorumSize()) {
    if (role_ == Role::kPreCandidate) {
      Campaign(/*pre=*/false, /*transfer=*/false, role_reason_);
    } else {
      BecomeLeader(granted);
    }
  } else if (refused >= membership().VoterCount() - membership().QuorumSize() + 1) {
    role_ = Role::kFollower;
    role_reason_ = "a quorum refused its vote";
  }
}

// Why the candidate does not get this node's vote; empty: it does.
std::string Core::RefuseVote(const Message& message, const VoteMessage& vote) const {
  if (message.term < term_ || (vote.pre && message.term == term_)) {
    return "term " + std::to_string(message.term.value()) + " is over";
  }
  if (!vote.transfer && HearsLiveLeader()) return "hears a live leader, " + NameOf(leader_);
  if (damaged() && !SKEIN_PLANTED("damaged-votes")) return "own log is damaged";
  const bool shorter = SKEIN_PLANTED("votes-by-length") ? vote.last.index < log_.last_index()
                                                        : vote.last < log_.last().at;
  if (shorter) return "own log is more advanced";
  if (!vote.pre && message.term == term_ && vote_ != NodeId() && vote_ != message.from) {
    return "voted for " + NameOf(vote_);
  }
  return "";
}

void Core::OnVote(const Message& message, const VoteMessage& vote) {
  const std::string refusal = RefuseVote(message, vote);
  const bool granted = refusal.empty();
  if (!granted) {
    Notice("refused " + std::string(vote.pre ? "pre-vote" : "vote") + " to " +
           NameOf(message.from) + ": " + refusal);
  } else if (!vote.pre) {
    SKEIN_CHECK(message.term == term_);
    if (vote_ != message.from) SetTerm(term_, message.from);
    timer_.Reset();
  }
  // A granted pre-vote answers in the term that was asked about, all else in the own.
  const Term term = granted && vote.pre ? message.term : term_;
  Send(message.from, term, VoteAck{vote.pre, granted, refusal});
}

void Core::OnVoteAck(const Message& message, const VoteAck& ack) {
  const Role wanted = ack.pre ? Role::kPreCandidate : Role::kCandidate;
  if (role_ != wanted) return;
  if (ack.granted && message.term != (ack.pre ? term_.Next() : term_)) return;
  if (!membership().IsVoter(message.from)) return;
  votes_.emplace(message.from, ack.granted);
  CountVotes();
}

// Thesis 3.10: the leader hands over to this node.
void Core::OnTimeoutNow(const Message& message) {
  if (role_ == Role::kLeader || !MayCampaign()) return;
  // R12: it could not lead, and would hand over in its turn.
  if (DiskHangs(options_.election_ticks_min) || StateHangs()) {
    return Notice("does not take over from " + NameOf(message.from) + ": own disk or state hangs");
  }
  Campaign(/*pre=*/false, /*transfer=*/true, NameOf(message.from) + " handed over");
}

// R9; R11: a leader whose link broke is not taken for alive.
bool Core::HearsLiveLeader() const {
  if (role_ == Role::kLeader) return true;
  return leader_ != NodeId() && LinkIsUp(leader_) &&
         ticks_since_leader_ < options_.election_ticks_min;
}

void Core::SetTerm(Term term, NodeId vote) {
  SKEIN_CHECK(term > term_ || (term == term_ && vote_ == NodeId()));
  // What was verified, was against the log of another term's leader.
  if (term > term_) {
    verified_ = log_.commit();
    leader_commit_ = Index();
  }
  term_ = term;
  vote_ = vote;
  hard_state_dirty_ = true;
}

void Core::BecomeFollower(Term term, NodeId leader, const std::string& reason) {
  const bool was_leader = role_ == Role::kLeader;
  if (transfer_) {
    const bool done = transfer_->asked && term > term_;
    EndTransfer(done ? absl::OkStatus() : absl::UnavailableError("leadership was lost: " + reason));
  }
  if (term > term_) SetTerm(term, NodeId());
  role_ = Role::kFollower;
  role_reason_ = reason;
  leader_ = leader;
  votes_.clear();
  if (leader != NodeId()) fast_tries_left_ = 0;
  FailForwardedReads();
  feeder_ = NodeId();
  if (was_leader || !SKEIN_PLANTED("feeds-in-a-newer-term")) {
    progress_.clear();
    feeds_round_ = 0;
  }
  if (!was_leader) return;
  timer_.Reset();
  ticks_since_leader_ = 0;
  for (const ReadRequest& request : reads_.TakeAll()) AnswerRead(request, false);
  for (const ReadRequest& request : reads_before_commit_) AnswerRead(request, false);
  reads_before_commit_.clear();
}

void Core::BecomeLeader(size_t votes) {
  role_ = Role::kLeader;
  leader_ = self_;
  fast_tries_left_ = 0;
  role_reason_ = "won the election with " + std::to_string(votes) + " of " +
                 std::to_string(membership().VoterCount()) + " votes, " + role_reason_;
  votes_.clear();
  incoming_.reset();
  progress_.clear();
  for (const Member& member : membership().members) {
    if (member.id == self_) continue;
    Progress progress(log_.last_index().Next());
    progress.link_up = LinkIsUp(member.id);
    progress_.emplace(member.id, progress);
  }
  committed_in_term_ = false;
  reads_before_commit_.clear();
  // R4: the entries of earlier terms are committed with it.
  const uint64_t cluster_time_ms =
      log_.InMemory(log_.last_index()) ? log_.At(log_.last_index())->cluster_time_ms() : 0;
  if (!SKEIN_PLANTED("no-no-op")) {
    log_.Append(Entry::Build(log_.last(), term_, EntryType::kNoOp, 0, cluster_time_ms, ""));
  }
  verified_ = log_.last_index();
  StartRound();
}

// Of the voters that the leader hears, the one that has most of its log; 0: it hears none.
NodeId Core::BestVoter() const {
  NodeId best;
  Index match;
  for (const auto& [id, progress] : progress_) {
    const bool heard = progress.ticks_since_heard < options_.election_ticks_min;
    if (!membership().IsVoter(id) || !heard || !Reaches(progress)) continue;
    if (progress.match < match) continue;
    best = id;
    match = progress.match;
  }
  return best;
}

// A write or a read of the log has been under way for longer.
bool Core::DiskHangs(uint64_t ticks) const {
  const uint64_t write = log_.OldestWriteTicks().value_or(now_ticks_);
  const uint64_t read = log_reads_.empty() ? now_ticks_ : log_reads_.front().second;
  return now_ticks_ - std::min(write, read) > ticks;
}

// The state machine has something to do, and has done nothing for longer.
bool Core::StateHangs() const {
  return !applying_bytes_each_.empty() && now_ticks_ - applied_ticks_ > StateStallTicks();
}

// R12: its own disk hangs. Heartbeats would keep it leader for ever, so it hands over to the most
// advanced voter that it hears.
void Core::GiveUpForStall() {
  const NodeId target = BestVoter();
  if (target != NodeId()) Send(target, term_, TimeoutNowMessage{});
  const auto write = log_.OldestWriteTicks();
  const bool log_hangs = DiskHangs(options_.stall_ticks);
  const std::string what = write && now_ticks_ - *write > options_.stall_ticks
                               ? "own disk has not finished a write"
                           : log_hangs ? "own disk has not finished a read"
                                       : "own state has not applied an entry";
  const uint64_t ticks = log_hangs ? options_.stall_ticks : StateStallTicks();
  BecomeFollower(term_, NodeId(),
                 what + " for more than " + std::to_string(ticks * options_.tick_ms) + " ms");
}

}  // namespace skein
