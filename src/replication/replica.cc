#include "replication/replica.h"

#include <algorithm>
#include <utility>

#include "common/planted_bug.h"

namespace skein {

Replica::Replica(const ReplicaOptions& options, NodeId self, LogRecovery recovery,
                 LogStore* log_store, StateMachine* state_machine, Transport* transport,
                 SnapshotFetcher* snapshot_fetcher, Observer* observer, const Clock* clock,
                 Random random)
    : options_(options),
      log_store_(log_store),
      state_machine_(state_machine),
      transport_(transport),
      snapshot_fetcher_(snapshot_fetcher),
      observer_(observer),
      clock_(clock),
      core_(options.core, self, std::move(recovery), state_machine->Recovered(), random),
      applied_revision_(state_machine->Recovered().revision),
      reported_durable_(core_.durable()),
      reported_commit_(core_.commit()) {}

void Replica::Step(const Event& event) {
  if (!fatal_.ok()) return;
  if (const auto* persisted = std::get_if<Persisted>(&event)) SendAfter(persisted->id);
  core_.Step(event);
  if (const auto* applied = std::get_if<Applied>(&event)) {
    pending_.OnApplied(*applied);
    OnApplied(applied->index, applied->revision);
  } else if (const auto* installed = std::get_if<Installed>(&event)) {
    if (!installed->base.ok()) return;
    pending_.OnInstalled(installed->base->point.at.index);
    OnApplied(installed->base->point.at.index, installed->base->point.revision);
  } else if (std::holds_alternative<Tick>(event)) {
    ExpireCallers();
  }
}

void Replica::OnApplied(Index index, Revision revision) {
  applied_revision_ = revision;
  observer_->OnStage(Stage::kApplied, index);
  const auto end = readers_granted_.upper_bound(index);
  for (auto it = readers_granted_.begin(); it != end; ++it) it->second.done(ReadOutcome::kGranted);
  readers_granted_.erase(readers_granted_.begin(), end);
}

void Replica::Propose(Proposal proposal) {
  ProposalResult refused;
  if (!fatal_.ok()) {
    refused.outcome = Outcome::kStopping;
  } else if (core_.role() != Role::kLeader) {
    refused.outcome = RefusalOf(ProposeStatus::kNotLeader);
  } else if (queue_bytes_ > options_.queue_bytes_max) {
    refused.outcome = Outcome::kQueueFull;
  } else {
    proposal.queued_us = clock_->MonotonicMicros();
    queue_bytes_ += proposal.payload.size();
    queue_.push_back(std::move(proposal));
    return;
  }
  proposal.done(std::move(refused));
}

Outcome Replica::RefusalOf(ProposeStatus status) const {
  if (status == ProposeStatus::kQueueFull) return Outcome::kQueueFull;
  return core_.ReachesQuorum() ? Outcome::kNotLeader : Outcome::kNoQuorum;
}

void Replica::Change(const MembershipChange& change, uint64_t deadline_us, OperatorCallback done) {
  if (!fatal_.ok()) return done(absl::UnavailableError("the node is stopping"));
  ChangeResult result = core_.ProposeChange(change, clock_->WallMillis());
  if (!result.status.ok()) return done(std::move(result.status));
  if (SKEIN_PLANTED("change-told-early")) return done(absl::OkStatus());
  Proposal proposal;
  proposal.deadline_us = deadline_us;
  proposal.done = [done = std::move(done)](ProposalResult answer) mutable {
    if (answer.outcome == Outcome::kOk) return done(absl::OkStatus());
    if (answer.outcome == Outcome::kRejected) {
      return done(absl::UnavailableError("another leader took over, nothing was changed"));
    }
    done(absl::UnknownError("the change was proposed and may or may not take effect"));
  };
  std::vector<Proposal> batch;
  batch.push_back(std::move(proposal));
  pending_.Add(*result.entry, std::move(batch));
}

void Replica::Transfer(NodeId target, OperatorCallback done) {
  if (!fatal_.ok()) return done(absl::UnavailableError("the node is stopping"));
  if (transfer_done_) {
    return done(absl::FailedPreconditionError("leadership is being handed over already"));
  }
  absl::Status status = core_.Transfer(target);
  if (!status.ok()) return done(std::move(status));
  transfer_done_ = std::move(done);
}

void Replica::EndTransfer(const absl::Status& how) {
  if (transfer_done_) std::exchange(transfer_done_, nullptr)(how);
}

// A leader whose own state is. Taking more would let its readers wait ever longer, and after a
// handover those whose writes it had taken: they hear of them when it has applied all before.
bool Replica::IsBehind() const {
  if (SKEIN_PLANTED("takes-while-behind")) return false;
  if (core_.role() != Role::kLeader) return false;
  const Lag lag = LagOf(core_.self());
  return lag.bytes > options_.unapplied_bytes_max || lag.entries > options_.unapplied_entries_max;
}

bool Replica::MustWait() const {
  if (core_.IsLeaving()) return true;  // if it stays, nobody was refused in vain
  if (IsBehind()) return true;
  return core_.role() == Role::kLeader && queue_bytes_ < options_.eager_bytes &&
         core_.log().last_index() - core_.commit() >= options_.entries_in_flight_max;
}

// Everything that waits becomes entries.
void Replica::ProposeBatch() {
  while (!queue_.empty()) {
    if (MustWait()) return;
    std::vector<Proposal> batch;
    std::string payload = std::move(queue_.front().payload);
    uint32_t count = queue_.front().command_count;
    queue_bytes_ -= payload.size();
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
    while (!queue_.empty() &&
           payload.size() + queue_.front().payload.size() <= options_.entry_bytes_max) {
      payload += queue_.front().payload;
      count += queue_.front().command_count;
      queue_bytes_ -= queue_.front().payload.size();
      batch.push_back(std::move(queue_.front()));
      queue_.pop_front();
    }
    ProposeResult result = core_.Propose(count, clock_->WallMillis(), payload);
    if (result.status == ProposeStatus::kAppended) {
      pending_.Add(*result.entry, std::move(batch));
      PerformReady(core_.TakeReady());
      continue;
    }
    ProposalResult refused;
    refused.outcome = RefusalOf(result.status);
    for (Proposal& proposal : batch) proposal.done(refused);
  }
}

void Replica::Read(uint64_t deadline_us, ReadCallback done) {
  if (!fatal_.ok()) {
    done(ReadOutcome::kNotConfirmed);
    return;
  }
  if (reads_waiting() >= options_.core.reads_waiting_max) {
    done(ReadOutcome::kQueueFull);
    return;
  }
  const uint64_t id = next_reader_++;
  readers_.emplace(id, Reader{deadline_us, std::move(done)});
  core_.ReadIndex(id);
}

void Replica::Perform() {
  if (!fatal_.ok()) return;
  PerformReady(core_.TakeReady());
  if (!fatal_.ok()) return;
  ProposeBatch();
  ReportStages();
}

void Replica::PerformReady(Ready ready) {
  if (!ready.fatal.ok()) {
    fatal_ = ready.fatal;
    FailAll();
    return;
  }
  if (ready.persist) {
    if (!ready.persist->entries.empty()) observer_->OnAppended(ready.persist->entries);
    log_store_->Write(std::move(*ready.persist));
  }
  for (Message& message : ready.send_now) transport_->Send(std::move(message));
  for (Message& message : ready.send_after) {
    if (send_after_.size() >= options_.send_after_max) send_after_.pop_front();
    send_after_.emplace_back(ready.send_after_id, std::move(message));
  }
  SendAfter(persisted_write_);
  if (!ready.apply.empty()) {
    for (const EntryPtr& entry : ready.apply) pending_.OnCommittedEntry(entry->position());
    state_machine_->Apply(std::move(ready.apply));
  }
  if (ready.install) state_machine_->Install(*ready.install);
  for (const LogRead& read : ready.log_reads) log_store_->Read(read);
  if (ready.fetch) snapshot_fetcher_->Fetch(*ready.fetch);
  if (!ready.reads.empty()) AnswerReads(ready.reads);
  if (ready.role) {
    lag_.Reset();
    observer_->OnRoleChange(*ready.role);
  }
  if (ready.membership) observer_->OnMembership(*ready.membership);
  if (ready.transfer_over) EndTransfer(*ready.transfer_over);
  if (ready.trim) log_store_->Trim(*ready.trim);
  for (const std::string& notice : ready.notices) observer_->OnNotice(notice);
}

void Replica::SendAfter(uint64_t persisted_id) {
  persisted_write_ = std::max(persisted_write_, persisted_id);
  while (!send_after_.empty() && send_after_.front().first <= persisted_write_) {
    transport_->Send(std::move(send_after_.front().second));
    send_after_.pop_front();
  }
}

void Replica::AnswerReads(const std::vector<ReadGrant>& grants) {
  for (const ReadGrant& grant : grants) {
    const auto it = readers_.find(grant.id);
    if (it == readers_.end()) continue;
    Reader reader = std::move(it->second);
    readers_.erase(it);
    if (grant.granted && grant.index > core_.applied() && !SKEIN_PLANTED("reads-unapplied")) {
      readers_granted_.emplace(grant.index, std::move(reader));
    } else {
      reader.done(grant.granted ? ReadOutcome::kGranted : ReadOutcome::kNotConfirmed);
    }
  }
}

// What advanced since the last time: for callers, lag and observers.
void Replica::ReportStages() {
  const bool leads = core_.role() == Role::kLeader;
  if (core_.durable() > reported_durable_) {
    if (leads) pending_.OnDurable(core_.term(), core_.durable());
    observer_->OnStage(Stage::kDurable, core_.durable());
  }
  reported_durable_ = core_.durable();
  if (core_.commit() > reported_commit_) {
    if (leads) {
      pending_.OnCommitted(core_.term(), core_.commit());
      const uint64_t now_us = clock_->MonotonicMicros();
      const LogPoint& base = core_.log().base();
      // What has left memory already counts as one, of bytes that are no longer known.
      if (base.at.index > reported_commit_) lag_.OnCommitted(base, 0, now_us);
      for (Index i = std::max(reported_commit_, base.at.index).Next(); i <= core_.commit();
           i = i.Next()) {
        const EntryPtr& entry = core_.log().At(i);
        lag_.OnCommitted(entry->point(), entry->bytes(), now_us);
      }
    }
    observer_->OnStage(Stage::kCommitted, core_.commit());
  }
  reported_commit_ = core_.commit();
  if (!leads || pending_.empty()) return;
  Index all_applied = core_.applied();
  for (const auto& [id, progress] : core_.progress()) {
    if (core_.membership().IsVoter(id)) all_applied = std::min(all_applied, progress.applied);
  }
  pending_.OnAllApplied(all_applied);
}

void Replica::ExpireCallers() {
  const uint64_t now_us = clock_->MonotonicMicros();
  pending_.Expire(now_us);
  // Who has to wait for the state is told so early enough to try again.
  const bool behind = IsBehind();
  const auto in_vain = [&](const Proposal& proposal) {
    const uint64_t waited_us = now_us - proposal.queued_us;
    return now_us >= proposal.deadline_us || (behind && waited_us >= options_.unapplied_wait_us);
  };
  while (!queue_.empty() && in_vain(queue_.front())) {
    ProposalResult refused;
    refused.outcome = behind ? Outcome::kQueueFull : Outcome::kNoQuorum;
    queue_bytes_ -= queue_.front().payload.size();
    queue_.front().done(refused);
    queue_.pop_front();
  }
  const auto expire = [now_us](auto* readers, ReadOutcome outcome) {
    for (auto it = readers->begin(); it != readers->end();) {
      if (now_us < it->second.deadline_us) {
        ++it;
        continue;
      }
      it->second.done(outcome);
      it = readers->erase(it);
    }
  };
  expire(&readers_, ReadOutcome::kNotConfirmed);
  expire(&readers_granted_, ReadOutcome::kBehind);
}

void Replica::Stop() {
  if (fatal_.ok()) fatal_ = absl::UnavailableError("the node is stopping");
  FailAll();
}

void Replica::FailAll() {
  pending_.FailAll();
  EndTransfer(absl::UnavailableError("the node is stopping"));
  ProposalResult refused;
  refused.outcome = Outcome::kStopping;
  for (Proposal& proposal : queue_) proposal.done(refused);
  queue_.clear();
  queue_bytes_ = 0;
  for (auto& [id, reader] : readers_) reader.done(ReadOutcome::kNotConfirmed);
  readers_.clear();
  for (auto& [index, reader] : readers_granted_) reader.done(ReadOutcome::kNotConfirmed);
  readers_granted_.clear();
}

Lag Replica::LagOf(NodeId node) const {
  if (node == core_.self()) return lag_.Of(core_.applied(), clock_->MonotonicMicros());
  const auto it = core_.progress().find(node);
  if (it == core_.progress().end()) return {};
  return lag_.Of(it->second.applied, clock_->MonotonicMicros());
}

Revision Replica::AppliedRevisionOf(NodeId follower) const {
  const auto it = core_.progress().find(follower);
  if (it == core_.progress().end()) return Revision();
  return lag_.RevisionAt(it->second.applied);
}

}  // namespace skein
