// The leader's side: replication, commit, linearizable reads. R4, R14, R16, R18.
#include <algorithm>

#include "common/check.h"
#include "common/planted_bug.h"
#include "replication/core/core.h"
#include "replication/core/quorum.h"

namespace skein {

void Core::LeaderTick() {
  size_t heard = membership().IsVoter(self_) ? 1 : 0;
  for (auto& [id, progress] : progress_) {
    ++progress.ticks_since_heard;
    ++progress.ticks_since_progress;
    const bool in_time = progress.ticks_since_heard < options_.election_ticks_max;
    if (membership().IsVoter(id) && in_time) ++heard;
    if (progress.mode == Progress::Mode::kSnapshot) SnapshotTick(id, &progress);
    FeedingTick(id, &progress);
    // Nothing came back for long: what was sent may be lost.
    if (progress.has_in_flight() && progress.ticks_since_progress >= options_.election_ticks_min) {
      progress.ProbeAgain();
    }
  }
  if (heard < membership().QuorumSize() && !SKEIN_PLANTED("no-check-quorum")) {  // R9
    BecomeFollower(term_, NodeId(),
                   "heard from " + std::to_string(heard) + " of " +
                       std::to_string(membership().VoterCount()) + " voters within " +
                       std::to_string(options_.election_ticks_max * options_.tick_ms) + " ms");
    return;
  }
  const bool state_hangs = StateHangs() && BestVoter() != NodeId();  // alone it leads on
  if ((DiskHangs(options_.stall_ticks) || state_hangs) && !SKEIN_PLANTED("stalled-leader-stays")) {
    GiveUpForStall();
    return;
  }
  TransferTick();
  if (++ticks_since_heartbeat_ < options_.heartbeat_ticks) return;
  MaybePromote();
  StartRound();
}

void Core::StartRound() {
  ticks_since_heartbeat_ = 0;
  ++round_;
  for (auto& [id, progress] : progress_) {
    progress.commit_sent = std::max(progress.commit_sent, std::min(log_.commit(), progress.match));
    Send(id, term_,
         HeartbeatMessage{round_, log_.commit(), all_matched_, progress.fresh_stamp_us,
                          progress.fresh_index, FeedsOf(id)});
  }
  ConfirmRounds();  // a single voter needs no answer
}

void Core::OnHeartbeatAck(const Message& message, const HeartbeatAck& ack) {
  const auto it = progress_.find(message.from);
  if (role_ != Role::kLeader || it == progress_.end()) return;
  Progress& progress = it->second;
  progress.ticks_since_heard = 0;
  // Round 0 answers what is not of this term, and states nothing.
  if (ack.round != 0 && ack.round >= progress.acked_round) progress.OnStated(ack.match);
  progress.acked_round = std::max(progress.acked_round, ack.round);
  progress.applied = std::max(progress.applied, ack.applied);
  if (ack.match > progress.match && ack.match <= log_.last_index()) {
    progress.OnMatch(ack.match);
    MaybeCommit();
    UpdateAllMatched();
  }
  if (ack.stamp_us != 0 && !progress.stamp_waiting) {
    progress.stamp_waiting = true;
    if (SKEIN_PLANTED("echoes-stamp"))
      AnswerRead({message.from, 0, ack.stamp_us, log_.commit()}, true);
    AddRead({.peer = message.from, .stamp_us = ack.stamp_us});
  }
  ConfirmRounds();
}

void Core::ConfirmRounds() {
  std::vector<uint64_t> acked;
  for (const Member& member : membership().members) {
    if (!member.voter) continue;
    acked.push_back(member.id == self_ ? round_ : progress_.at(member.id).acked_round);
  }
  const uint64_t confirmed = QuorumValue(std::move(acked));
  if (confirmed <= confirmed_round_) return;
  confirmed_round_ = confirmed;
  for (const ReadRequest& request : reads_.TakeProven(confirmed)) AnswerRead(request, true);
}

size_t Core::ReadsWaiting() const {
  return reads_.size() + reads_before_commit_.size() + forward_waiting_.size() +
         forward_in_flight_.size();
}

void Core::ReadIndex(uint64_t id) {
  if (ReadsWaiting() >= options_.reads_waiting_max) {
    ready_.reads.push_back({id, false, Index()});
  } else if (role_ == Role::kLeader) {
    AddRead({.id = id});
  } else if (leader_ == NodeId()) {
    ready_.reads.push_back({id, false, Index()});
  } else {
    forward_waiting_.push_back(id);
  }
}

void Core::OnReadIndex(const Message& message, const ReadIndexMessage& read) {
  if (role_ != Role::kLeader) return;  // the asker hears of the new term, and asks again
  // Whoever asks again has given up its older question.
  std::erase_if(reads_before_commit_, [&message](const ReadRequest& request) {
    return request.peer == message.from && !request.IsStamp();
  });
  reads_.DropReadersOf(message.from);
  AddRead({.peer = message.from, .id = read.id});
}

// R14: the commit index says nothing before an entry of this term is committed.
void Core::AddRead(ReadRequest request) {
  if (!committed_in_term_ && !SKEIN_PLANTED("reads-before-own-term")) {
    reads_before_commit_.push_back(request);
    return;
  }
  request.index = log_.commit();
  const bool alone = membership().QuorumSize() == 1 && membership().IsVoter(self_);
  if (alone || SKEIN_PLANTED("reads-without-round")) {
    AnswerRead(request, true);
    return;
  }
  reads_.Add(request, SKEIN_PLANTED("read-joins-old-round") ? round_ : round_ + 1);
}

void Core::AnswerRead(const ReadRequest& request, bool granted) {
  if (request.IsStamp()) {
    const auto it = progress_.find(request.peer);
    if (it == progress_.end()) return;
    it->second.stamp_waiting = false;
    if (!granted) return;
    it->second.fresh_stamp_us = request.stamp_us;
    it->second.fresh_index = request.index;
  } else if (request.peer != NodeId()) {
    Send(request.peer, term_, ReadIndexAck{request.id, granted, request.index});
  } else {
    ready_.reads.push_back({request.id, granted, request.index});
  }
}

void Core::OnAppendAck(const Message& message, const AppendAck& ack) {
  const auto it = progress_.find(message.from);
  if (it == progress_.end()) return;
  Progress& progress = it->second;
  progress.ticks_since_heard = 0;
  progress.applied = std::max(progress.applied, ack.applied);
  if (!ack.rejected) {
    if (ack.match > log_.last_index()) return;  // not of this log
    progress.OnMatch(ack.match);
    if (role_ != Role::kLeader) return;
    MaybeCommit();
    UpdateAllMatched();
    return;
  }
  if (progress.mode == Progress::Mode::kSnapshot) return;  // it says what is known
  if (ack.previous_index < progress.match) return;         // of a place that was left
  // Go on after the follower's last entry if this log holds the same, else after its commit index,
  // up to which all logs agree.
  const auto point = log_.PointAt(ack.last.at.index);
  const bool same = point && point->at == ack.last.at && point->chain == ack.last.chain;
  Index agreed = std::min(same ? ack.last.at.index : ack.commit, log_.last_index());
  // Before it is offered a snapshot: it may have more than it knows to be committed.
  const Index kept = LogGoesOnAfter();
  if (agreed < kept && ack.last.at.index >= kept && ack.previous_index > kept) agreed = kept;
  Notice(NameOf(message.from) + " rejected an append after index " +
         std::to_string(ack.previous_index.value()) + ", its log ends at term " +
         std::to_string(ack.last.at.term.value()) + " index " +
         std::to_string(ack.last.at.index.value()) + ", going on after index " +
         std::to_string(agreed.value()));
  progress.Probe(agreed.Next());
}

// R2, R4: a quorum of durable copies, of an entry of this term.
void Core::MaybeCommit() {
  std::vector<uint64_t> durable;
  for (const Member& member : membership().members) {
    if (!member.voter) continue;
    durable.push_back(member.id == self_ ? log_.durable().value()
                                         : progress_.at(member.id).match.value());
  }
  const Index index(QuorumValue(std::move(durable)));
  if (index <= log_.commit()) return;
  if (log_.PointAt(index)->at.term != term_ && !SKEIN_PLANTED("commits-older-term")) return;
  log_.CommitTo(index);
  if (committed_in_term_) return;
  committed_in_term_ = true;
  for (const ReadRequest& request : reads_before_commit_) AddRead(request);
  reads_before_commit_.clear();
}

void Core::UpdateAllMatched() {
  Index least = log_.durable();
  for (const auto& [id, progress] : progress_) least = std::min(least, progress.match);
  all_matched_ = std::max(all_matched_, least);
}

void Core::SendAppends() {
  const Index limit = SendLimit();
  for (auto& [id, progress] : progress_) {
    const auto has_more = [&, &fed = progress] {
      return fed.mode == Progress::Mode::kProbe ? fed.next <= limit.Next() : fed.next <= limit;
    };
    while (progress.MaySend(options_.window_bytes_max) && has_more()) {
      if (!SendAppend(id, &progress)) break;
    }
  }
}

// False: the log does not have what the member needs.
bool Core::SendAppend(NodeId to, Progress* progress) {
  if (progress->next <= AddedAgainAt(to)) {  // R26
    OfferSnapshot(to, progress);
    return false;
  }
  const Index previous = progress->next.Previous();
  const Index limit = SendLimit();
  const auto point = log_.PointAt(previous);
  if (!point) return RequestLogRead(to, progress);
  AppendMessage append;
  append.relayed = role_ != Role::kLeader;
  append.previous = point->at;
  append.previous_chain = point->chain;
  append.commit = log_.commit();
  if (progress->next <= limit) {
    append.entries = log_.Slice(progress->next, limit, options_.append_bytes_max);
  }
  const Index last = append.entries.empty() ? previous : append.entries.back()->index();
  progress->commit_sent = std::max(progress->commit_sent, std::min(append.commit, last));
  progress->OnSent(last, TotalBytes(append.entries));
  Send(to, term_, std::move(append));
  return true;
}

// What a follower must have at least to go on with this log. Term and chain of an entry that was
// trimmed are not known, but those of where the log began are.
Index Core::LogGoesOnAfter() const {
  return trimmed_ == log_base_.at.index ? trimmed_ : trimmed_.Next();
}

// R19: what a slow follower needs is no longer in memory. Reads from the entry before, for its
// term and chain.
bool Core::RequestLogRead(NodeId to, Progress* progress) {
  const Index previous = progress->next.Previous();
  if (previous < LogGoesOnAfter()) {
    OfferSnapshot(to, progress);
    return false;
  }
  progress->log_read = ReadLog(previous == log_base_.at.index ? progress->next : previous);
  progress->log_read_to = SendLimit();
  return true;
}

// Followers that wait for a revision must not wait for the next heartbeat to see it committed.
// Round 0 asks for no answer.
void Core::SendCommits() {
  for (auto& [id, progress] : progress_) {
    const Index commit = std::min(log_.commit(), progress.match);
    const bool relayed = progress.fed_by != NodeId();  // the commit index is, too
    if (!progress.link_up || relayed || commit <= progress.commit_sent) continue;
    progress.commit_sent = commit;
    Send(id, term_, HeartbeatMessage{.round = 0, .commit = log_.commit(), .trim = all_matched_});
  }
}

}  // namespace skein
