// Taking the Ready: gathers what the events left behind into obligations.
#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/planted_bug.h"
#include "replication/core/core.h"

namespace skein {

Ready Core::TakeReady() {
  if (role_ == Role::kLeader) {
    ChooseFeeders();
    if (reads_.HasReaders() && confirmed_round_ == round_) StartRound();
    SendAppends();
    MaybeTransfer();
    LeaveIfRemoved();
    SendCommits();
  } else {
    ForwardReads();
    AckAppends();
    SendAppends();
  }
  ack_due_ = false;
  ReportIncoming();
  TakeWrite();
  TakeApply();
  TakeTrim();
  TakeMembership();
  const RoleChange now = {role_, term_, leader_, role_reason_};
  if (now.role != announced_.role || now.term != announced_.term ||
      now.leader != announced_.leader) {
    announced_ = now;
    ready_.role = now;
  }
  log_.Evict(options_.memory_bytes_max);
  return std::exchange(ready_, Ready());
}

// R1: while term and vote are on their way to the disk, every message waits for them.
void Core::Send(NodeId to, Term term, MessageBody body) {
  Message message{self_, to, term, std::move(body)};
  const bool on_disk = !hard_state_dirty_ && hard_state_write_ <= persisted_write_;
  if (!on_disk && !SKEIN_PLANTED("votes-before-sync")) {
    ready_.send_after.push_back(std::move(message));
  } else {
    ready_.send_now.push_back(std::move(message));
  }
}

void Core::Fatal(const std::string& message) {
  if (ready_.fatal.ok()) ready_.fatal = absl::DataLossError(message);
}

// The id under which the entries will come.
uint64_t Core::ReadLog(Index first) {
  log_reads_.emplace_back(next_log_read_, now_ticks_);
  ready_.log_reads.push_back({next_log_read_, first, options_.append_bytes_max});
  return next_log_read_++;
}

void Core::TakeWrite() {
  if (log_.HasUnwritten() || hard_state_dirty_) {
    LogWrite write = log_.TakeUnwritten(next_write_++, now_ticks_);
    write.hard_state = HardState{term_, vote_, log_.commit()};
    if (hard_state_dirty_) hard_state_write_ = write.id;
    hard_state_dirty_ = false;
    ready_.persist = std::move(write);
  }
  ready_.send_after_id = hard_state_write_;
}

// R5: only what is committed and durable here.
void Core::TakeApply() {
  const Index limit = SKEIN_PLANTED("applies-before-sync")
                          ? log_.commit()
                          : std::min(log_.commit(), log_.durable());
  if (installing_ || applying_ >= limit || applying_bytes_ >= options_.applying_bytes_max) return;
  if (!log_.InMemory(applying_.Next())) {
    if (apply_log_read_ != 0) return;
    apply_log_read_ = ReadLog(applying_.Next());
    apply_read_to_ = limit;
    return;
  }
  if (apply_log_read_ != 0) return;
  std::vector<EntryPtr> entries =
      log_.Slice(applying_.Next(), limit, options_.applying_bytes_max - applying_bytes_);
  for (EntryPtr& entry : entries) HandToState(std::move(entry));
}

void Core::HandToState(EntryPtr entry) {
  applying_ = entry->index();
  if (applying_bytes_each_.empty()) applied_ticks_ = now_ticks_;
  applying_bytes_each_.emplace_back(entry->index(), entry->bytes());
  applying_bytes_ += entry->bytes();
  ready_.apply.push_back(std::move(entry));
}

// The log is kept for the state database, and for every member as far as the budget goes (R20);
// for who takes a snapshot, from that snapshot on until it lacks few. One entry more is kept: what
// is sent to a member is preceded by the term and chain of the entry that it has. In steps, so that
// the store is not asked for every entry.
void Core::TakeTrim() {
  const Index retained = log_.FirstWithin(options_.log_retention_bytes);
  const Index unneeded =
      retained == Index() ? all_matched_ : std::max(all_matched_, retained.Previous());
  const Index recoverable = SKEIN_PLANTED("trims-unflushed") ? applied_ : state_durable_;
  Index index = std::min({recoverable, log_.durable(), unneeded});
  for (auto& [id, progress] : progress_) {
    const bool silent = progress.ticks_since_heard > options_.snapshot_silence_ticks;
    const bool level = progress.match + options_.level_entries_max >= log_.last_index();
    if (silent || level) progress.pin = Index();
    if (progress.pin == Index()) continue;
    progress.pin = std::max(progress.pin, progress.match);
    index = std::min(index, progress.pin);
  }
  const bool enough = index.value() > trimmed_.value() + options_.trim_step_entries;
  if (!enough && !log_.HasStepUpTo(index)) return;
  trimmed_ = index.Previous();
  log_.Forget(trimmed_);
  while (memberships_.size() > 1 && memberships_[1].index <= trimmed_) memberships_.pop_front();
  ready_.trim = trimmed_;
}

void Core::TakeMembership() {
  const Index committed = announced_memberships_.committed.index;
  const bool settled = committed == memberships_.back().index;
  if (settled && announced_memberships_.newest.index == committed) return;
  MembershipsInForce now = memberships();
  if (now == announced_memberships_) return;
  announced_memberships_ = now;
  ready_.membership = std::move(now);
}

std::string Core::Ago(uint64_t ticks) const {
  return std::to_string(ticks * options_.tick_ms) + " ms ago";
}

}  // namespace skein
