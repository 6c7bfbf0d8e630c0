#include "tests/sim/sim_disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "replication/command.h"
#include "tests/sim/checker.h"

namespace skein::sim {
namespace {

constexpr uint64_t kStallPollUs = 5'000;

uint64_t DigestOf(std::string_view key, const StoredValue& stored) {
  return ChainHash(ChainHash(Checksum64(key), Checksum64(stored.value)), stored.version.value());
}

Membership MembershipIn(const Entry& entry) {
  Membership membership;
  SKEIN_CHECK(DecodeMembership(entry.payload(), &membership));
  return membership;
}

bool IsWellFormed(const Entry& entry) {
  if (entry.type() != EntryType::kCommands) return entry.command_count() == 0;
  Decoder decoder(entry.payload());
  uint32_t commands = 0;
  for (CommandView command; !decoder.empty(); ++commands) {
    if (!NextCommand(&decoder, &command)) return false;
  }
  return commands == entry.command_count();
}

}  // namespace

bool SimState::Apply(const Entry& entry, std::vector<CommandOutcome>* outcomes) {
  if (!entry.Follows(applied) || !IsWellFormed(entry)) return false;
  if (entry.type() == EntryType::kMembership) membership = MembershipIn(entry);
  Revision revision = entry.first_revision();
  Decoder decoder(entry.payload());
  for (uint32_t i = 0; i < entry.command_count(); ++i, revision = revision.Next()) {
    CommandView command;
    SKEIN_CHECK(NextCommand(&decoder, &command));
    const std::string key(command.key);
    const auto old = data.find(key);
    const bool existed = old != data.end();
    if (existed) digest ^= DigestOf(key, old->second);
    if (command.type == CommandType::kDelete) {
      outcomes->push_back({revision, existed});
      if (existed) data.erase(old);
      continue;
    }
    StoredValue& stored = data[key];
    stored = {std::string(command.value), revision};
    digest ^= DigestOf(key, stored);
  }
  applied = entry.point();
  return true;
}

EntryPtr DiskImage::Find(Index index) const {
  if (index <= base.point.at.index || index > last().at.index) return nullptr;
  return log[index - base.point.at.index - 1];
}

void DiskImage::Truncate(Index first) {
  while (!log.empty() && log.back()->index() >= first) log.pop_back();
}

MembershipAt DiskImage::membership() const {
  for (auto entry = log.rbegin(); entry != log.rend(); ++entry) {
    if ((*entry)->type() == EntryType::kMembership) {
      return {(*entry)->index(), MembershipIn(**entry)};
    }
  }
  return {base.point.at.index, base.membership};
}

void ResetLog(const SimContext& context, size_t node, DiskImage* image, const LogBase& base) {
  const Index index = base.point.at.index;
  std::vector<std::pair<Term, uint64_t>> lost;
  if (image->last().at.index > index) {
    context.checker->OnTruncate(node, index.Next());
  } else if (image->witnessed.size() > index.value()) {
    lost.assign(image->witnessed.begin() + index.value(), image->witnessed.end());
  }
  image->witnessed = context.checker->CommittedUpTo(index);
  image->witnessed.insert(image->witnessed.end(), lost.begin(), lost.end());
  // As by a truncation: what damage has taken stays owed.
  if (image->acknowledged <= image->last().at.index) {
    image->acknowledged = std::min(image->acknowledged, index);
  }
  image->log.clear();
  image->base = base;
}

SimLogStore::SimLogStore(const SimContext& context, size_t node, DiskImage* image,
                         const DiskFaults* faults, Random random)
    : context_(context), node_(node), image_(image), faults_(faults), random_(random) {}

absl::StatusOr<LogRecovery> SimLogStore::Recover() {
  LogRecovery recovery;
  recovery.base = image_->base;
  recovery.hard_state = image_->hard_state;
  recovery.last = image_->last();
  recovery.tail_base = image_->base.point;
  recovery.acknowledged = image_->acknowledged;
  for (const EntryPtr& entry : image_->log) {
    if (entry->type() == EntryType::kMembership) {
      recovery.memberships.push_back({entry->index(), MembershipIn(*entry)});
    }
    if (entry->index() <= image_->hard_state.commit) {
      recovery.tail_base = entry->point();
      recovery.earlier_bytes += entry->bytes();
      continue;
    }
    recovery.tail.push_back(entry);
  }
  return recovery;
}

void SimLogStore::Start(EventSink* sink) { sink_ = sink; }

void SimLogStore::Write(LogWrite write) {
  if (failed_) return;
  waiting_.push_back(std::move(write));
  if (!syncing_) BeginSync();
}

// Whatever waits becomes one batch; a truncation or reset begins one.
void SimLogStore::BeginSync() {
  size_t writes = 1;
  while (writes < waiting_.size() && !waiting_[writes].truncate_from && !waiting_[writes].reset) {
    ++writes;
  }
  syncing_ = true;
  context_.scheduler->After(1 + Exponential(&random_, context_.options->sync_mean_us),
                            [this, writes, alive = alive_] {
                              if (*alive) FinishSync(writes);
                            });
}

void SimLogStore::FinishSync(size_t writes) {
  if (faults_->stalled_until_us > context_.now_us()) {  // looks again: it may be mended earlier
    context_.scheduler->After(kStallPollUs, [this, writes, alive = alive_] {
      if (*alive) FinishSync(writes);
    });
    return;
  }
  if (faults_->fail_next_write || faults_->full) {
    context_.coverage->Count(faults_->full ? Mark::kDiskFull : Mark::kDiskError);
    return Fail(faults_->full ? "no space left on device" : "input/output error");
  }
  syncing_ = false;
  const uint64_t id = waiting_[writes - 1].id;
  for (size_t i = 0; i < writes; ++i) {
    WriteToImage(waiting_.front());
    image_->acknowledged = std::max(image_->acknowledged, image_->last().at.index);
    waiting_.pop_front();
  }
  Trim(trim_to_);
  if (context_.trace->on()) {
    context_.trace->Say(fmt::format("{} has write {} durable, log ends at {}.{}", NodeName(node_),
                                    id, image_->last().at.term.value(),
                                    image_->last().at.index.value()));
  }
  context_.trace->Mix(id);
  sink_->Post(Persisted{id});
  if (!waiting_.empty()) BeginSync();
}

void SimLogStore::WriteAtOnce(const LogWrite& write) {
  WriteToImage(write);
  image_->acknowledged = image_->last().at.index;
}

void SimLogStore::WriteToImage(const LogWrite& write) {
  if (write.hard_state) {
    context_.checker->OnHardState(node_, image_->hard_state, *write.hard_state);
    image_->hard_state = *write.hard_state;
  }
  if (write.reset) {
    context_.coverage->Count(Mark::kLogReset);
    ResetLog(context_, node_, image_, *write.reset);
  }
  if (write.truncate_from) {
    context_.checker->OnTruncate(node_, *write.truncate_from);
    if (image_->acknowledged <= image_->last().at.index) {
      image_->acknowledged = std::min(image_->acknowledged, write.truncate_from->Previous());
    }
    image_->Truncate(*write.truncate_from);
    image_->witnessed.resize(
        std::min<size_t>(image_->witnessed.size(), write.truncate_from->Previous().value()));
  }
  for (const EntryPtr& entry : write.entries) {
    if (!entry->Follows(image_->last())) {
      context_.checker->Violate(NodeName(node_) + " writes an entry that does not follow its log");
      return;
    }
    image_->log.push_back(entry);
    const size_t place = entry->index().value();
    const std::pair<Term, uint64_t> now = {entry->term(), entry->chain()};
    if (image_->witnessed.size() < place || image_->witnessed[place - 1] != now) {
      image_->witnessed.resize(place);
      image_->witnessed[place - 1] = now;
    }
  }
}

void SimLogStore::Fail(const std::string& what) {
  failed_ = true;
  sink_->Post(StorageFailed{absl::UnavailableError(NodeName(node_) + "/log: " + what)});
}

void SimLogStore::Read(LogRead read) {
  Index begin = image_->base.point.at.index;
  for (const LogWrite& write : waiting_) {
    if (write.reset) begin = write.reset->point.at.index;
  }
  if (read.first <= begin) {
    context_.checker->Violate(NodeName(node_) + " reads what it has trimmed");
    return;
  }
  std::deque<EntryPtr> all = image_->log;
  for (const LogWrite& write : waiting_) {
    if (write.reset) all.clear();
    while (write.truncate_from && !all.empty() && all.back()->index() >= *write.truncate_from) {
      all.pop_back();
    }
    all.insert(all.end(), write.entries.begin(), write.entries.end());
  }
  LogReadDone done{read.id, {}};
  uint64_t bytes = 0;
  for (const EntryPtr& entry : all) {
    if (entry->index() < read.first) continue;
    bytes += entry->bytes();
    if (done.entries.size() >= 2 && bytes > read.bytes_max) break;
    done.entries.push_back(entry);
  }
  context_.coverage->Count(Mark::kLogRead, done.entries.size());
  reads_.push_back(std::move(done));
  if (reads_.size() == 1) BeginRead();
}

void SimLogStore::BeginRead() {
  context_.scheduler->After(Exponential(&random_, context_.options->sync_mean_us),
                            [this, alive = alive_] {
                              if (*alive) FinishRead();
                            });
}

void SimLogStore::FinishRead() {
  if (failed_) return;
  if (faults_->reads_stalled_until_us > context_.now_us()) {
    context_.scheduler->After(kStallPollUs, [this, alive = alive_] {
      if (*alive) FinishRead();
    });
    return;
  }
  sink_->Post(std::move(reads_.front()));
  reads_.pop_front();
  if (!reads_.empty()) BeginRead();
}

// Sometimes at once, sometimes with the next write.
void SimLogStore::Trim(Index index) {
  trim_to_ = std::max(trim_to_, index);
  if (image_->base.point.at.index >= trim_to_ || random_.Chance(0.5)) return;
  if (trim_to_ > image_->last().at.index) {
    context_.checker->Violate(NodeName(node_) + " trims what is not durable");
    return;
  }
  context_.coverage->Count(Mark::kLogTrimmed);
  while (image_->base.point.at.index < trim_to_) {
    const Entry& first = *image_->log.front();
    image_->base.point = first.point();
    if (first.type() == EntryType::kMembership) image_->base.membership = MembershipIn(first);
    image_->log.pop_front();
  }
}

Index SimLogStore::FirstIndex() const { return image_->base.point.at.index.Next(); }

void SimLogStore::Crash() {
  *alive_ = false;
  size_t kept = random_.Below(waiting_.size() + 1);
  if (failed_) kept = std::min<size_t>(kept, 1);
  for (size_t i = 0; i < kept && !faults_->full; ++i) {
    context_.coverage->Count(Mark::kWriteHalfDone);
    WriteToImage(waiting_[i]);
  }
  waiting_.clear();
}

SimStateMachine::SimStateMachine(const SimContext& context, size_t node, DiskImage* image,
                                 Random random)
    : context_(context), node_(node), image_(image), random_(random), state_(image->state) {}

void SimStateMachine::Start(EventSink* sink) { sink_ = sink; }

void SimStateMachine::Apply(std::vector<EntryPtr> entries) {
  if (failed_) return;
  for (EntryPtr& entry : entries) waiting_.push_back(std::move(entry));
  if (applying_ || (waiting_.empty() && !installing_)) return;
  applying_ = true;
  context_.scheduler->After(1 + Exponential(&random_, context_.options->apply_mean_us),
                            [this, alive = alive_] {
                              if (*alive) ApplySome();
                            });
}

void SimStateMachine::ApplySome() {
  applying_ = false;
  if (waiting_.empty()) return FinishInstall();
  Applied applied;
  for (uint64_t left = random_.Between(1, waiting_.size()); left > 0; --left) {
    const EntryPtr entry = std::move(waiting_.front());
    waiting_.pop_front();
    if (!state_.Apply(*entry, &applied.outcomes)) {
      failed_ = true;
      sink_->Post(StorageFailed{absl::DataLossError(fmt::format(
          "{}/state: entry {} cannot be applied", NodeName(node_), entry->index().value()))});
      return;
    }
    context_.checker->OnApplied(node_, state_.applied, state_.digest);
  }
  applied.index = state_.applied.at.index;
  applied.revision = state_.applied.revision;
  context_.trace->Mix(state_.digest);
  sink_->Post(std::move(applied));
  Apply({});
}

void SimStateMachine::Install(const LogBase& base) {
  installing_ = base;
  Apply({});
}

// Sometimes what was fetched turns out to be damaged.
void SimStateMachine::FinishInstall() {
  const LogBase base = *std::exchange(installing_, std::nullopt);
  std::optional<SimState> fetched = std::exchange(image_->incoming, std::nullopt);
  if (!fetched || fetched->applied != base.point || random_.Chance(0.05)) {
    sink_->Post(Installed{absl::DataLossError("the fetched snapshot is damaged")});
    return;
  }
  if (fetched->applied.at.index < state_.applied.at.index) {
    context_.checker->Violate(NodeName(node_) + " asks for a snapshot that sets its state back");
    sink_->Post(Installed{absl::FailedPreconditionError("the state is further")});
    return;
  }
  context_.coverage->Count(Mark::kSnapshotInstalled);
  state_ = *std::move(fetched);
  state_.origin = base;
  image_->state = state_;
  context_.checker->OnApplied(node_, state_.applied, state_.digest);
  context_.trace->Mix(state_.digest);
  sink_->Post(Installed{base});
}

void SimStateMachine::Flush() {
  context_.scheduler->After(1 + Exponential(&random_, context_.options->sync_mean_us),
                            [this, snapshot = state_, alive = alive_] {
                              if (!*alive) return;
                              if (snapshot.applied.at < image_->state.applied.at) return;
                              image_->state = snapshot;
                              sink_->Post(StateDurable{snapshot.applied.at.index});
                            });
}

}  // namespace skein::sim
