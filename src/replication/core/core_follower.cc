// The follower's side: taking entries, acknowledging what is durable, forwarding reads.
#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/planted_bug.h"
#include "replication/core/core.h"

namespace skein {

void Core::FollowLeader(const Message& message) {
  SKEIN_CHECK(role_ != Role::kLeader);  // one leader per term
  if (role_ != Role::kFollower || leader_ != message.from) {
    BecomeFollower(term_, message.from, NameOf(message.from) + " leads");
  }
  ticks_since_leader_ = 0;
  timer_.Reset();
}

// R36: what an upstream sends is committed, and so it is in the log of whoever leads in its term;
// but it is no sign of life of that leader.
void Core::OnAppend(const Message& message, const AppendMessage& append) {
  if (!append.relayed) FollowLeader(message);
  if (role_ != Role::kFollower) return;
  feeder_ = append.relayed ? message.from : NodeId();
  const Index previous = append.previous.index;
  const auto point = log_.PointAt(previous);
  if (previous > log_.last_index() || (point && point->at.term != append.previous.term)) {
    // R21: a snapshot may be of a later term than the leader's, who does not know it is deposed.
    if (previous == log_base_.at.index) return;
    if (previous <= log_.commit()) {
      Fatal("the leader's log differs from the committed entry at index " +
            std::to_string(previous.value()));
      return;
    }
    RejectAppend(message, append);
    return;
  }
  if (point && point->chain != append.previous_chain) {  // R8
    Fatal("log diverges from the leader's at or before index " + std::to_string(previous.value()) +
          ": same term, other chain hash");
    return;
  }
  if (!TakeEntries(append)) return;
  const Index end = append.entries.empty() ? previous : append.entries.back()->index();
  verified_ = std::max(verified_, end);
  log_.CommitTo(std::min(append.commit, verified_));
  // R18: what is not durable yet is acknowledged when it is, all of it at once.
  ack_due_ = ack_due_ || AckMatch() == verified_;
  if (!append.relayed) leader_commit_ = std::max(leader_commit_, append.commit);
  CheckRepaired();
}

// To who sent them. The leader hears of what an upstream has brought by the next heartbeat.
void Core::AckAppends() {
  const NodeId to = feeder_ != NodeId() ? feeder_ : leader_;
  if (!ack_due_ || to == NodeId()) return;
  Send(to, term_, AppendAck{.match = AckMatch(), .applied = applied_});
  applied_told_ = applied_;
}

// R2: what is durable, and known to equal the leader's log.
Index Core::AckMatch() const {
  return SKEIN_PLANTED("acks-before-sync") ? verified_ : std::min(log_.durable(), verified_);
}

// A damaged log is whole again once it holds everything that the leader has committed, an entry of
// the leader's own term included: until then the leader itself may not know how far that goes.
// A leader of the term in which the damage happened may have counted, or may yet count, what this
// node acknowledged before; to it everything must be given back. A later one won without this node.
void Core::CheckRepaired() {
  if (term_ == recovered_term_ && AckMatch() < acknowledged_) return;
  if (!damaged_ || log_.durable() < leader_commit_ || log_.commit() < leader_commit_) return;
  const auto point = log_.PointAt(leader_commit_);
  if (!point || point->at.term != term_) return;
  damaged_ = false;
  Notice("the damaged log is complete again, voting from now on");
}

void Core::RejectAppend(const Message& message, const AppendMessage& append) {
  AppendAck ack;
  ack.rejected = true;
  ack.applied = applied_;
  ack.previous_index = append.previous.index;
  ack.last = log_.last();
  ack.commit = log_.commit();
  Send(message.from, term_, ack);
}

// Appends what is new, after cutting off what conflicts. False if nothing further may be done.
bool Core::TakeEntries(const AppendMessage& append) {
  for (const EntryPtr& entry : append.entries) {
    if (entry->index() <= log_.commit()) continue;
    const auto mine = log_.PointAt(entry->index());
    // R19: the disk has as much to do as a leader may send. It will be sent again.
    if (!mine && log_.undurable_bytes() > options_.window_bytes_max + options_.append_bytes_max) {
      return false;
    }
    if (mine && mine->at.term == entry->term() && !SKEIN_PLANTED("truncates-on-old-append")) {
      if (mine->chain == entry->chain()) continue;
      Fatal("log diverges from the leader's at index " + std::to_string(entry->index().value()) +
            ": same term, other chain hash");
      return false;
    }
    if (mine) {
      Notice("truncating the log from index " + std::to_string(entry->index().value()) + " to " +
             std::to_string(log_.last_index().value()) + ": the leader's term " +
             std::to_string(entry->term().value()) + " replaces term " +
             std::to_string(mine->at.term.value()));
      TruncateFrom(entry->index());
      verified_ = std::min(verified_, log_.last_index());
    }
    if (!entry->Follows(log_.last())) {
      Notice("dropped an append: entry " + std::to_string(entry->index().value()) +
             " does not follow the log");
      return false;
    }
    log_.Append(entry);
    if (entry->type() == EntryType::kMembership && !AppendMembership(*entry)) return false;
  }
  return true;
}

void Core::OnHeartbeat(const Message& message, const HeartbeatMessage& heartbeat,
                       uint64_t received_us) {
  FollowLeader(message);
  all_matched_ = std::max(all_matched_, heartbeat.trim);
  log_.CommitTo(std::min(heartbeat.commit,
                         SKEIN_PLANTED("commits-unverified") ? log_.last_index() : verified_));
  leader_commit_ = std::max(leader_commit_, heartbeat.commit);
  CheckRepaired();
  if (first_received_us_ == 0) first_received_us_ = received_us;
  const bool own_clock =
      heartbeat.fresh_stamp_us >= first_received_us_ && heartbeat.fresh_stamp_us <= received_us;
  if (heartbeat.fresh_stamp_us != 0 && own_clock &&
      (fresh_.empty() || heartbeat.fresh_stamp_us > fresh_.back().first)) {
    constexpr size_t kStampsMax = 64;
    if (fresh_.size() < kStampsMax)
      fresh_.emplace_back(heartbeat.fresh_stamp_us, heartbeat.fresh_index);
    UpdateFreshness();
  }
  if (heartbeat.round == 0) return;
  TakeFeeds(heartbeat);
  Send(message.from, term_, HeartbeatAck{heartbeat.round, received_us, applied_, AckMatch()});
}

// R16: a proven stamp counts once its index is applied.
void Core::UpdateFreshness() {
  while (!fresh_.empty() && fresh_.front().second <= applied_) {
    fresh_stamp_us_ = std::max(fresh_stamp_us_, fresh_.front().first);
    fresh_.pop_front();
  }
}

// R15: one question is under way at a time; readers that come meanwhile share the next one.
void Core::ForwardReads() {
  if (forward_waiting_.empty() || !forward_in_flight_.empty() || leader_ == NodeId()) return;
  forward_in_flight_ = std::exchange(forward_waiting_, {});
  forward_sent_ticks_ = now_ticks_;
  Send(leader_, term_, ReadIndexMessage{++forward_attempt_});
}

void Core::OnReadIndexAck(const Message& message, const ReadIndexAck& ack) {
  if (message.from != leader_ ||
      (ack.id != forward_attempt_ && !SKEIN_PLANTED("takes-late-read-index"))) {
    return;
  }
  for (const uint64_t id : std::exchange(forward_in_flight_, {})) {
    ready_.reads.push_back({id, ack.granted, ack.index});
  }
}

void Core::FailForwardedReads() {
  for (const uint64_t id : std::exchange(forward_waiting_, {})) {
    ready_.reads.push_back({id, false, Index()});
  }
  for (const uint64_t id : std::exchange(forward_in_flight_, {})) {
    ready_.reads.push_back({id, false, Index()});
  }
}

}  // namespace skein
