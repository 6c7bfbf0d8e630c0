// Snapshots for who is so far behind that the log was trimmed: R20, R21. The leader names a source,
// the follower fetches from it, installs what it got, and goes on from there with the log.
#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/planted_bug.h"
#include "replication/core/core.h"

namespace skein {

// Leader.

void Core::OfferSnapshot(NodeId to, Progress* progress) {
  if (role_ != Role::kLeader) return;  // an upstream: the leader will notice, and see to it
  const Index added = AddedAgainAt(to);
  const std::string why =
      progress->next <= added ? "from before it was added again" : "which was trimmed";
  SnapshotOffer offer;
  offer.id = next_offer_++;
  offer.at_least = std::max(LogGoesOnAfter(), added);
  offer.source = SnapshotSource(to, offer.at_least);
  const Member* source = membership().Find(offer.source);
  offer.source_address = source == nullptr ? "" : source->address;
  Notice(NameOf(to) + " needs the log from index " + std::to_string(progress->next.value()) + ", " +
         why + "; it is offered a snapshot of " + NameOf(offer.source));
  progress->AwaitSnapshot(offer.source, offer);
  Send(to, term_, std::move(offer));
}

// Its upstream (R36) or, if that does not work, the one that it fetched from before, else of the
// healthy ones who sends fewest snapshots, and of these who relays the log to fewest; the leader
// itself only if there is nobody else.
NodeId Core::SnapshotSource(NodeId to, Index at_least) const {
  const auto& avoided = progress_.at(to).failed_source;
  const auto healthy = [&](NodeId id) {
    const auto it = progress_.find(id);
    if (id == to || id == avoided || it == progress_.end()) return false;
    const Progress& progress = it->second;
    return progress.link_up && progress.mode == Progress::Mode::kReplicate &&
           progress.ticks_since_heard < options_.election_ticks_max && progress.applied >= at_least;
  };
  const Member* member = membership().Find(to);
  const NodeId upstream = member == nullptr ? NodeId() : member->upstream;
  if (healthy(upstream) || (upstream == self_ && avoided != self_)) return upstream;
  const NodeId before = progress_.at(to).snapshot.source;
  if (healthy(before)) return before;
  std::map<NodeId, std::pair<size_t, size_t>> loads;
  for (const auto& [id, progress] : progress_) {
    if (progress.mode == Progress::Mode::kSnapshot) ++loads[progress.snapshot.source].first;
    ++loads[progress.fed_by].second;
  }
  NodeId best = self_;
  for (const auto& [id, progress] : progress_) {
    if (healthy(id) && (best == self_ || loads[id] < loads[best])) best = id;
  }
  return best;
}

void Core::OnSnapshotReport(const Message& message, const SnapshotReport& report) {
  const auto it = progress_.find(message.from);
  if (role_ != Role::kLeader || it == progress_.end()) return;
  Progress& progress = it->second;
  progress.ticks_since_heard = 0;
  Progress::Snapshot& snapshot = progress.snapshot;
  if (progress.mode != Progress::Mode::kSnapshot || report.id != snapshot.report.id) return;
  snapshot.report = report;
  snapshot.ticks_silent = 0;
  progress.pin =
      std::max({progress.pin, snapshot.at_least, std::min(report.index, log_.last_index())});
  switch (report.phase) {
    case SnapshotPhase::kFetching:
    case SnapshotPhase::kInstalling:
      return;
    case SnapshotPhase::kInstalled:
      Notice(NameOf(message.from) + " has installed a snapshot up to index " +
             std::to_string(report.index.value()));
      progress.failed_source = NodeId();
      progress.stated = report.index;
      progress.Probe(std::min(report.index, log_.last_index()).Next());
      return;
    case SnapshotPhase::kFailed:
      progress.pin = Index();
      if (report.error.empty()) {  // it has what it needs
        progress.Probe(progress.match.Next());
        return;
      }
      Notice(NameOf(message.from) + " could not take its snapshot: " + report.error);
      progress.failed_source =
          progress.failed_source == snapshot.source ? NodeId() : snapshot.source;
      // Not again at once: what was wrong may still be.
      snapshot.report.id = 0;
      snapshot.ticks_silent =
          options_.snapshot_silence_ticks -
          std::min(options_.snapshot_silence_ticks, options_.election_ticks_max);
  }
}

// Nothing was heard of it for long: whatever became of it, it is asked anew where it stands.
void Core::SnapshotTick(NodeId id, Progress* progress) {
  if (++progress->snapshot.ticks_silent <= options_.snapshot_silence_ticks) return;
  if (progress->snapshot.report.id != 0) {
    Notice(NameOf(id) + " has not told of its snapshot for " +
           std::to_string(options_.snapshot_silence_ticks * options_.tick_ms) + " ms");
    progress->failed_source = progress->snapshot.source;
  }
  progress->pin = Index();
  progress->Probe(progress->match.Next());
}

// Follower.

void Core::OnSnapshotOffer(const Message& message, const SnapshotOffer& offer) {
  FollowLeader(message);
  if (incoming_ && incoming_->term == term_ && offer.id <= incoming_->report.id) return;
  const bool other_leader = incoming_ && incoming_->term != term_;
  const bool enough = incoming_ && (incoming_->report.index == Index() ||
                                    incoming_->report.index >= offer.at_least);
  if (installing_ || (incoming_ && enough && (other_leader || incoming_->source == offer.source))) {
    incoming_->term = term_;
    incoming_->report.id = offer.id;
    incoming_->report_due = true;
    return;
  }
  incoming_ = Incoming{.term = term_, .source = offer.source, .report = {.id = offer.id}};
  // A replayed offer, or one that an append has overtaken.
  if (log_.commit() >= offer.at_least) return FailIncoming("");
  incoming_->fetch = next_fetch_++;
  ready_.fetch = SnapshotFetch{incoming_->fetch, offer.source, offer.source_address,
                               std::max(offer.at_least, applied_)};
}

void Core::OnSnapshotFetching(const SnapshotFetching& event) {
  if (!incoming_ || event.id != incoming_->fetch) return;
  SnapshotReport& report = incoming_->report;
  report.index = event.index;
  report.bytes_done = event.bytes_done;
  report.bytes_total = event.bytes_total;
  incoming_->report_due = true;
}

void Core::OnSnapshotFetched(const SnapshotFetched& event) {
  if (!incoming_ || event.id != incoming_->fetch || installing_) return;
  if (!event.base.ok()) return FailIncoming(std::string(event.base.status().message()));
  const Index index = event.base->point.at.index;
  // R21: declined, it would take back what is here.
  const bool stale = index <= log_.commit() || index < applied_;
  if (stale && !SKEIN_PLANTED("installs-stale-snapshot")) return FailIncoming("");
  if (role_ != Role::kFollower) return FailIncoming("this node campaigns");
  // It comes from a later term than this node has heard of; so may its log from now on.
  const Term term = event.base->point.at.term;
  if (term > term_) {
    BecomeFollower(term, NodeId(), "its snapshot is of term " + std::to_string(term.value()));
  }
  installing_ = true;
  apply_log_read_ = 0;
  incoming_->report.phase = SnapshotPhase::kInstalling;
  incoming_->report.index = index;
  incoming_->report_due = true;
  ready_.install = *event.base;
}

void Core::OnInstalled(const Installed& event) {
  SKEIN_CHECK(installing_);
  installing_ = false;
  if (!event.base.ok()) return FailIncoming(std::string(event.base.status().message()));
  ResetTo(*event.base);
  incoming_->report.phase = SnapshotPhase::kInstalled;
  incoming_->report.index = event.base->point.at.index;
  incoming_->report_due = true;
}

// The state stands for everything up to the snapshot. A log that has the same entry there goes on
// as it is; any other is of no use: what follows in it, no quorum has.
void Core::ResetTo(const LogBase& base) {
  const Index index = base.point.at.index;
  const auto mine = log_.PointAt(index);
  const bool same = mine && mine->at == base.point.at && mine->chain == base.point.chain;
  if (index <= log_.commit() || (same && index <= log_.durable())) {
    log_.CommitTo(std::max(index, log_.commit()));
    verified_ = std::max(verified_, index);
  } else {
    Notice("the log begins anew after the snapshot up to index " + std::to_string(index.value()));
    log_.Reset(base);
    log_base_ = base.point;
    trimmed_ = index;
    verified_ = index;
    memberships_ = {{index, base.membership}};
    UseMembership();
  }
  applied_ = applying_ = std::max(applied_, index);
  applying_bytes_each_.clear();
  applying_bytes_ = 0;
  state_durable_ = std::max(state_durable_, index);
  ack_due_ = true;
  UpdateFreshness();
  CheckRepaired();
}

void Core::FailIncoming(const std::string& error) {
  if (!error.empty()) Notice("no snapshot from " + NameOf(incoming_->source) + ": " + error);
  incoming_->fetch = 0;
  incoming_->report.phase = SnapshotPhase::kFailed;
  incoming_->report.error = error;
  incoming_->report_due = true;
}

// Only to who offered it: another leader asks for itself.
void Core::ReportIncoming() {
  if (!incoming_ || !std::exchange(incoming_->report_due, false)) return;
  if (leader_ != NodeId() && leader_ != self_ && incoming_->term == term_) {
    Send(leader_, term_, incoming_->report);
  }
  const SnapshotPhase phase = incoming_->report.phase;
  if (phase == SnapshotPhase::kInstalled || phase == SnapshotPhase::kFailed) incoming_.reset();
}

}  // namespace skein
