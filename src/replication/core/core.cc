#include "replication/core/core.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/check.h"
#include "common/planted_bug.h"

namespace skein {
namespace {

// How exactly the budget for the log is kept.
constexpr uint64_t kRetentionSteps = 256;
// How exactly it is known in bytes who is level.
constexpr uint64_t kLevelSteps = 16;

}  // namespace

const char* RoleName(Role role) {
  switch (role) {
    case Role::kFollower:
      return "follower";
    case Role::kPreCandidate:
      return "pre-candidate";
    case Role::kCandidate:
      return "candidate";
    case Role::kLeader:
      return "leader";
  }
  return "unknown";
}

Core::Core(const CoreOptions& options, NodeId self, LogRecovery recovery, const LogPoint& applied,
           Random random)
    : options_(options),
      self_(self),
      recovered_term_(recovery.hard_state.term),
      acknowledged_(std::max(recovery.acknowledged, applied.at.index)),
      term_(recovery.hard_state.term),
      vote_(SKEIN_PLANTED("forgets-vote") ? NodeId() : recovery.hard_state.vote),
      log_(recovery.tail_base, std::move(recovery.tail),
           std::max(recovery.hard_state.commit, applied.at.index),
           EarlierEntries{recovery.base.point.at.index, recovery.earlier_bytes},
           std::min(options.log_retention_bytes / kRetentionSteps,
                    options.level_bytes_max / kLevelSteps)),
      log_base_(recovery.base.point),
      memberships_{{recovery.base.point.at.index, std::move(recovery.base.membership)}},
      verified_(log_.commit()),
      applied_(applied.at.index),
      applying_(applied.at.index),
      state_durable_(applied.at.index),
      all_matched_(log_base_.at.index),
      trimmed_(log_base_.at.index),
      timer_(options, random.Fork("election")),
      forward_attempt_(random.Fork("questions").Next() << 16) {
  std::move(recovery.memberships.begin(), recovery.memberships.end(),
            std::back_inserter(memberships_));
  announced_memberships_ = memberships();
  // An installation that was completed at the start may have brought a later term.
  if (log_.last().at.term > term_) SetTerm(log_.last().at.term, NodeId());
  announced_ = {role_, term_, leader_, ""};
  if (log_.last_index() < acknowledged_) {
    damaged_ = true;
    Notice("the log ends at index " + std::to_string(log_.last_index().value()) +
           " but this node has acknowledged entries up to index " +
           std::to_string(acknowledged_.value()) +
           "; it will not vote until the leader has sent them again");
  }
}

void Core::Step(const Event& event) {
  struct Visitor {
    Core* core;
    void operator()(const Tick&) { core->OnTick(); }
    void operator()(const Received& e) { core->OnReceived(e); }
    void operator()(const Persisted& e) { core->OnPersisted(e); }
    void operator()(const LogReadDone& e) { core->OnLogRead(e); }
    void operator()(const Applied& e) { core->OnApplied(e); }
    void operator()(const StateDurable& e) {
      core->state_durable_ = std::max(core->state_durable_, e.index);
    }
    void operator()(const SnapshotFetching& e) { core->OnSnapshotFetching(e); }
    void operator()(const SnapshotFetched& e) { core->OnSnapshotFetched(e); }
    void operator()(const Installed& e) { core->OnInstalled(e); }
    void operator()(const LinkUp& e) { core->OnLinkUp(e); }
    void operator()(const LinkDown& e) { core->OnLinkDown(e); }
    void operator()(const StorageFailed& e) { core->ready_.fatal = e.status; }
  };
  std::visit(Visitor{this}, event);
}

ProposeResult Core::Propose(uint32_t command_count, uint64_t cluster_time_ms,
                            std::string_view payload) {
  if (role_ != Role::kLeader) return {ProposeStatus::kNotLeader, nullptr};
  if (transfer_) return {ProposeStatus::kTransferring, nullptr};
  if (std::max(log_.uncommitted_bytes(), log_.undurable_bytes()) > options_.uncommitted_bytes_max) {
    return {ProposeStatus::kQueueFull, nullptr};
  }
  return {ProposeStatus::kAppended,
          Append(EntryType::kCommands, command_count, cluster_time_ms, payload)};
}

void Core::OnTick() {
  ++now_ticks_;
  if (role_ == Role::kLeader) {
    LeaderTick();
    return;
  }
  ++ticks_since_leader_;
  timer_.Tick();
  UpstreamTick();
  // What is applied travels with other acknowledgements; alone at most once a tick. An upstream
  // does not want to know.
  if (applied_ > applied_told_ && feeder_ == NodeId()) ack_due_ = true;
  const bool answer_overdue = now_ticks_ - forward_sent_ticks_ >= options_.election_ticks_min;
  if (!forward_in_flight_.empty() && answer_overdue) {
    forward_waiting_.insert(forward_waiting_.end(), forward_in_flight_.begin(),
                            forward_in_flight_.end());
    forward_in_flight_.clear();
  }
  // The leader must not take it for silent.
  if (installing_ && now_ticks_ % options_.election_ticks_min == 0) incoming_->report_due = true;
  if (timer_.Expired()) OnElectionTimeout();
}

void Core::OnReceived(const Received& event) {
  const Message& message = event.message;
  if (message.to != self_ || message.from == self_) return;
  if (AcceptTerm(message)) Dispatch(message, event.received_us);
}

// Brings the own term up to the message's, or tells a sender that is behind. False if the message
// is of no further use.
bool Core::AcceptTerm(const Message& message) {
  const auto* vote = std::get_if<VoteMessage>(&message.body);
  const auto* vote_ack = std::get_if<VoteAck>(&message.body);
  if (message.term > term_) {
    // The term of a pre-vote is one that nobody has yet.
    if (vote != nullptr && vote->pre) return true;
    if (vote_ack != nullptr && vote_ack->pre && vote_ack->granted) return true;
    // R9: who hears a live leader does not let a candidate raise its term.
    if (vote != nullptr && !vote->transfer && HearsLiveLeader()) return true;
    const auto* append = std::get_if<AppendMessage>(&message.body);
    const bool from_leader = (append != nullptr && !append->relayed) ||
                             std::holds_alternative<HeartbeatMessage>(message.body) ||
                             std::holds_alternative<SnapshotOffer>(message.body);
    BecomeFollower(
        message.term, from_leader ? message.from : NodeId(),
        "saw term " + std::to_string(message.term.value()) + " of " + NameOf(message.from));
    return true;
  }
  if (message.term == term_) return true;
  if (SKEIN_PLANTED("counts-old-acks") && std::get_if<AppendAck>(&message.body)) return true;
  // R9: a stale leader or candidate learns the newer term from the answer.
  if (vote != nullptr) return true;
  if (std::holds_alternative<AppendMessage>(message.body) ||
      std::holds_alternative<HeartbeatMessage>(message.body)) {
    Send(message.from, term_, HeartbeatAck{});
  }
  return false;
}

void Core::Dispatch(const Message& message, uint64_t received_us) {
  struct Visitor {
    Core* core;
    const Message& message;
    uint64_t received_us;
    void operator()(const AppendMessage& m) { core->OnAppend(message, m); }
    void operator()(const AppendAck& m) { core->OnAppendAck(message, m); }
    void operator()(const HeartbeatMessage& m) { core->OnHeartbeat(message, m, received_us); }
    void operator()(const HeartbeatAck& m) { core->OnHeartbeatAck(message, m); }
    void operator()(const VoteMessage& m) { core->OnVote(message, m); }
    void operator()(const VoteAck& m) { core->OnVoteAck(message, m); }
    void operator()(const ReadIndexMessage& m) { core->OnReadIndex(message, m); }
    void operator()(const ReadIndexAck& m) { core->OnReadIndexAck(message, m); }
    void operator()(const TimeoutNowMessage&) { core->OnTimeoutNow(message); }
    void operator()(const SnapshotOffer& m) { core->OnSnapshotOffer(message, m); }
    void operator()(const SnapshotReport& m) { core->OnSnapshotReport(message, m); }
  };
  std::visit(Visitor{this, message, received_us}, message.body);
}

void Core::OnPersisted(const Persisted& event) {
  persisted_write_ = std::max(persisted_write_, event.id);
  log_.OnPersisted(event.id);
  if (role_ == Role::kLeader) {
    MaybeCommit();
    UpdateAllMatched();
  } else if (role_ == Role::kCandidate) {
    CountVotes();
  } else {
    ack_due_ = true;
    CheckRepaired();
  }
}

void Core::OnLogRead(const LogReadDone& event) {
  while (!log_reads_.empty() && log_reads_.front().first <= event.id) log_reads_.pop_front();
  if (event.entries.empty()) {
    Fatal("the log store returned no entry for a read");
    return;
  }
  if (event.id == apply_log_read_) {
    apply_log_read_ = 0;
    if (event.entries.front()->index() != applying_.Next()) return;
    const Index last = SKEIN_PLANTED("applies-replaced") ? std::min(log_.commit(), log_.durable())
                                                         : apply_read_to_;
    for (const EntryPtr& entry : event.entries) {
      if (entry->index() > last) break;
      HandToState(entry);
    }
    return;
  }
  for (auto& [id, progress] : progress_) {
    if (progress.log_read != event.id) continue;
    progress.log_read = 0;
    if (progress.fed_by != NodeId()) return;  // another member feeds it by now
    const EntryPtr& first = event.entries.front();
    AppendMessage append;
    append.commit = log_.commit();
    append.relayed = role_ != Role::kLeader;
    const bool at_start = first->index() == log_base_.at.index.Next();
    if (at_start && first->index() == progress.next) {  // nothing comes before it
      append.previous = log_base_.at;
      append.previous_chain = log_base_.chain;
      append.entries = event.entries;
    } else if (first->index().Next() == progress.next) {
      append.previous = first->position();
      append.previous_chain = first->chain();
      append.entries.assign(event.entries.begin() + 1, event.entries.end());
    } else {
      return;  // the member was sent back meanwhile
    }
    std::erase_if(append.entries,
                  [&](const EntryPtr& entry) { return entry->index() > progress.log_read_to; });
    const Index last =
        append.entries.empty() ? append.previous.index : append.entries.back()->index();
    progress.commit_sent = std::max(progress.commit_sent, std::min(append.commit, last));
    progress.OnSent(last, TotalBytes(append.entries));
    Send(id, term_, std::move(append));
    return;
  }
}

void Core::OnApplied(const Applied& event) {
  SKEIN_CHECK(event.index <= applying_);
  applied_ = std::max(applied_, event.index);
  applied_ticks_ = now_ticks_;
  while (!applying_bytes_each_.empty() && applying_bytes_each_.front().first <= applied_) {
    applying_bytes_ -= applying_bytes_each_.front().second;
    applying_bytes_each_.pop_front();
  }
  UpdateFreshness();
}

void Core::OnLinkUp(const LinkUp& event) {
  links_down_.erase(event.peer);
  versions_[event.peer] = event.version;
  const auto it = progress_.find(event.peer);
  if (it == progress_.end()) return;
  it->second.link_up = true;
  // The clock behind its stamps may be another one now.
  it->second.fresh_stamp_us = 0;
  it->second.fresh_index = Index();
  // Whatever was on the old stream may be lost, and what it had applied but not made durable.
  it->second.applied = Index();
  it->second.stated.reset();
  it->second.ProbeAgain();
}

void Core::OnLinkDown(const LinkDown& event) {
  links_down_.insert(event.peer);
  const auto it = progress_.find(event.peer);
  if (it != progress_.end()) it->second.link_up = false;
  // R11: the leader's process is gone. Whether to trust that is up to the pre-vote.
  if (event.refused && event.peer == leader_ && role_ == Role::kFollower) {
    fast_tries_left_ = 4;
    timer_.ResetShort();
  }
}

uint32_t Core::VersionOf(NodeId peer) const {
  if (peer == self_) return options_.protocol_version;
  const auto it = versions_.find(peer);
  return it == versions_.end() ? 0 : std::min(options_.protocol_version, it->second);
}

bool Core::ReachesQuorum() const {
  size_t reachable = 0;
  for (const Member& member : membership().members) {
    if (member.voter && (member.id == self_ || LinkIsUp(member.id))) ++reachable;
  }
  return reachable >= membership().QuorumSize();
}

void Core::CheckInvariants() const {
  SKEIN_CHECK(applied_ <= applying_);
  SKEIN_CHECK(!installing_ || (incoming_ && role_ == Role::kFollower));
  SKEIN_CHECK(log_.commit() <= log_.last_index());
  SKEIN_CHECK(log_.durable() <= log_.last_index());
  SKEIN_CHECK(log_.base().at.index <= log_.commit());
  SKEIN_CHECK(role_ != Role::kLeader || leader_ == self_);
  SKEIN_CHECK(role_ != Role::kCandidate || vote_ == self_);
}

}  // namespace skein
