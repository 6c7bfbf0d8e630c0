#include "tests/sim/checker.h"

#include <fmt/format.h>

#include <algorithm>

#include "replication/command.h"

namespace skein::sim {
namespace {

constexpr size_t kNobody = ~size_t{0};
constexpr uint64_t kOneWriteBytes = 4096;  // more than any write of a client, and its frame, takes
constexpr size_t kStampsMax = 64;

}  // namespace

void Checker::Connect(const SimContext& context, const Membership& initial,
                      std::vector<const DiskImage*> disks) {
  context_ = context;
  membership_ = {Index(), initial};
  memberships_ = {initial};
  disks_ = std::move(disks);
  commit_checked_.resize(disks_.size());
}

void Checker::Violate(const std::string& what) {
  if (!violation_.empty()) return;
  violation_ = what;
  context_.trace->Say("VIOLATION: " + what);
}

void Checker::OnHardState(size_t node, const HardState& before, const HardState& after) {
  const bool other_vote = before.vote != NodeId() && before.vote != after.vote;
  if (after.term < before.term || (after.term == before.term && other_vote)) {
    Violate(fmt::format("{} takes back term {} vote {} for term {} vote {}", NodeName(node),
                        before.term.value(), before.vote.value(), after.term.value(),
                        after.vote.value()));
  }
}

void Checker::OnTruncate(size_t node, Index first) {
  context_.coverage->Count(Mark::kTruncation);
  if (!Counts(node)) return;
  const auto& witnessed = disks_[node]->witnessed;
  for (size_t i = first.value(); i <= std::min(witnessed.size(), committed_.size()); ++i) {
    const CommittedEntry& entry = committed_[i - 1];
    if (witnessed[i - 1] != std::pair(entry.term, entry.chain)) return;
    if (CopiesOf({entry.term, entry.chain}, i, *entry.voters, node) >= entry.voters->QuorumSize())
      continue;
    return Violate(fmt::format("{} truncates from index {}, but the entry at {} is committed",
                               NodeName(node), first.value(), i));
  }
}

// Among these voters but for one: those that have had the entry durable and have not truncated it.
size_t Checker::CopiesOf(const Entry& entry, const Membership& voters, size_t left_out) const {
  return CopiesOf({entry.term(), entry.chain()}, entry.index().value(), voters, left_out);
}

size_t Checker::CopiesOf(const std::pair<Term, uint64_t>& content, size_t index,
                         const Membership& voters, size_t left_out) const {
  size_t copies = 0;
  for (const Member& member : voters.members) {
    const size_t node = member.id.value() - 1;
    if (!member.voter || node == left_out) continue;
    const auto& witnessed = disks_[node]->witnessed;
    if (witnessed.size() < index) continue;
    if (witnessed[index - 1] == content) ++copies;
  }
  return copies;
}

void Checker::CheckClaim(size_t node, Index match, const char* what) {
  const Index last = std::max(disks_[node]->last().at.index, disks_[node]->state.applied.at.index);
  if (match <= last) return;
  Violate(fmt::format("{} states in {} that it has index {}, but its disk ends at {}",
                      NodeName(node), what, match.value(), last.value()));
}

void Checker::CheckRelay(size_t node, const Message& message, const AppendMessage& append) {
  if (!feeds_.contains({message.term, message.from, message.to})) {
    return Violate(fmt::format("{} feeds {} in term {}, in which nobody has asked it to",
                               NodeName(node), NodeName(message.to.value() - 1),
                               message.term.value()));
  }
  context_.coverage->Count(Mark::kEntryRelayed, append.entries.size());
  for (const EntryPtr& entry : append.entries) {
    const size_t index = entry->index().value();
    if (index <= committed_.size() && committed_[index - 1].chain == entry->chain()) continue;
    return Violate(
        fmt::format("{} relays index {}, which is not committed", NodeName(node), index));
  }
}

void Checker::OnSend(size_t node, const Message& message) {
  if (!Counts(node)) return;
  const HardState& on_disk = disks_[node]->hard_state;
  const auto* vote = std::get_if<VoteMessage>(&message.body);
  const auto* vote_ack = std::get_if<VoteAck>(&message.body);
  const bool pre = (vote != nullptr && vote->pre) || (vote_ack != nullptr && vote_ack->pre);
  if (!pre && message.term > on_disk.term) {
    Violate(fmt::format("{} uses term {}, which is not on its disk", NodeName(node),
                        message.term.value()));
  }
  // Of an older term than that on the disk it was there before.
  if (vote_ack != nullptr && !pre && vote_ack->granted && on_disk.vote != message.to &&
      on_disk.term == message.term) {
    Violate(NodeName(node) + " gives a vote that is not on its disk");
  }
  if (vote_ack != nullptr && !vote_ack->granted) context_.coverage->Count(Mark::kVoteRefused);
  const auto* append_ack = std::get_if<AppendAck>(&message.body);
  if (append_ack != nullptr && append_ack->rejected) {
    context_.coverage->Count(Mark::kAppendRejected);
  } else if (append_ack != nullptr) {
    CheckClaim(node, append_ack->match, "an acknowledgement");
  }
  const auto* append = std::get_if<AppendMessage>(&message.body);
  if (append != nullptr && append->relayed) CheckRelay(node, message, *append);
  if (const auto* heartbeat = std::get_if<HeartbeatMessage>(&message.body)) {
    for (const Feed& feed : heartbeat->feeds)
      feeds_.emplace(message.term, message.to, feed.learner);
  }
  const auto* heartbeat_ack = std::get_if<HeartbeatAck>(&message.body);
  if (heartbeat_ack != nullptr) CheckClaim(node, heartbeat_ack->match, "a heartbeat's answer");
}

void Checker::OnAppended(size_t node, const Replica& replica,
                         const std::vector<EntryPtr>& entries) {
  if (!Counts(node)) return;
  const Core& core = replica.core();
  const uint64_t unapplied = replica.LagOf(core.self()).bytes;
  for (const EntryPtr& entry : entries) {
    const bool taken = core.role() == Role::kLeader && entry->term() == core.term() &&
                       entry->type() == EntryType::kCommands;
    if (taken && unapplied > context_.options->replica.unapplied_bytes_max) {
      Violate(fmt::format("{} leads and takes writes with {} bytes to be applied", NodeName(node),
                          unapplied));
    }
    const auto [it, fresh] =
        chains_.emplace(std::pair(entry->term(), entry->index()), entry->chain());
    if (fresh || it->second == entry->chain()) continue;
    Violate(fmt::format("{} appends another entry at term {} index {} than some other node",
                        NodeName(node), entry->term().value(), entry->index().value()));
  }
}

void Checker::OnApplied(size_t node, const LogPoint& applied, uint64_t digest) {
  if (!Counts(node)) return;
  const uint64_t index = applied.at.index.value();
  if (index > committed_.size()) {
    return Violate(
        fmt::format("{} applies index {}, which is not committed", NodeName(node), index));
  }
  CommittedEntry& entry = committed_[index - 1];
  if (entry.term != applied.at.term || entry.chain != applied.chain) {
    return Violate(fmt::format("{} applies another entry at index {} than was committed",
                               NodeName(node), index));
  }
  if (!std::exchange(entry.digest_known, true)) entry.digest = digest;
  if (entry.digest != digest) {
    Violate(fmt::format("{} has another state after index {} than some other node", NodeName(node),
                        index));
  }
}

void Checker::OnRestart(size_t node) { commit_checked_[node] = Index(); }

void Checker::AfterPerform(size_t node, const Replica& replica) {
  const Core& core = replica.core();
  core.CheckInvariants();
  if (!Counts(node)) return;
  if (core.role() == Role::kLeader) {
    const auto [it, fresh] = leaders_.emplace(core.term(), core.self());
    if (it->second != core.self()) {
      Violate(fmt::format("term {} has two leaders, {} and {}", core.term().value(),
                          NodeName(it->second.value() - 1), NodeName(node)));
    }
  }
  CheckCommit(node, core);
  CheckChanges(node, core);
  CheckLimits(node, replica);
}

void Checker::CheckCommit(size_t node, const Core& core) {
  const Log& log = core.log();
  if (log.commit() > log.last_index()) Violate(NodeName(node) + " has committed what it has not");
  // An installed state needs no log: a start lets the log begin anew after it. A damaged log is
  // shorter than the state until it is repaired.
  const std::optional<LogBase>& origin = disks_[node]->state.origin;
  const Index stored = std::max(log.durable(), origin ? origin->point.at.index : Index());
  if (!core.damaged() && (core.applied() > log.commit() || core.applied() > stored)) {
    Violate(NodeName(node) + " has applied what is not committed and durable");
  }
  if (log.commit() <= commit_checked_[node]) return;
  const MembershipsInForce memberships = core.memberships();
  for (Index i = committed().Next(); i <= log.commit() && violation_.empty(); i = i.Next()) {
    const EntryPtr entry = log.InMemory(i) ? log.At(i) : disks_[node]->Find(i);
    if (entry == nullptr) return Violate(NodeName(node) + " has lost an entry that it commits");
    Commit(node, VotersOf(*entry, memberships, log.durable()), *entry);
  }
  commit_checked_[node] = log.commit();
  // The chain hash vouches for everything before.
  const auto point = log.PointAt(log.commit());
  if (!point || log.commit() == Index() || !violation_.empty()) return;
  const CommittedEntry& known = committed_[log.commit().value() - 1];
  if (known.term != point->at.term || known.chain != point->chain) {
    Violate(fmt::format("{} has committed another entry at index {} than was committed before",
                        NodeName(node), log.commit().value()));
  }
}

// Whose quorum has committed the entry: the newest membership's, unless that has only just been
// appended, and may have followed the commit.
const Membership& Checker::VotersOf(const Entry& entry, const MembershipsInForce& memberships,
                                    Index durable) const {
  const Membership& newest = memberships.newest.membership;
  const Membership& before = memberships.committed.membership;
  const auto has_quorum = [&](const Membership& voters) {
    return CopiesOf(entry, voters, kNobody) >= voters.QuorumSize();
  };
  const bool just_appended = memberships.newest.index > durable;
  return just_appended && !has_quorum(newest) && has_quorum(before) ? before : newest;
}

void Checker::CommitMembership(const Entry& entry) {
  membership_.index = entry.index();
  if (!DecodeMembership(entry.payload(), &membership_.membership)) {
    Violate("a committed membership is malformed");
  }
  memberships_.push_back(membership_.membership);
  std::set<std::string> addresses;
  for (const Member& member : membership_.membership.members) {
    if (!addresses.insert(member.address).second) {
      Violate("two members are at the address " + member.address);
    }
  }
  for (const Member& member : membership_.membership.members) {
    const bool was_added = member.id.value() > context_.options->voters;
    if (was_added && member.voter && member.incarnation == 0) {
      Violate(member.name + " votes, and could do so from two data directories");
    }
  }
}

// The first time that anyone takes this entry for committed.
void Checker::Commit(size_t node, const Membership& membership, const Entry& entry) {
  const size_t index = entry.index().value();
  auto voters = committed_.empty() ? nullptr : committed_.back().voters;
  if (voters == nullptr || *voters != membership) {
    voters = std::make_shared<const Membership>(membership);
  }
  committed_.push_back({entry.term(), entry.chain(), std::move(voters)});
  const size_t copies = CopiesOf(entry, membership, kNobody);
  if (copies < membership.QuorumSize()) {
    Violate(fmt::format("{} takes index {} for committed, but only {} of {} voters have it durable",
                        NodeName(node), index, copies, membership.VoterCount()));
  }
  if (entry.type() == EntryType::kMembership) CommitMembership(entry);
  Revision revision = entry.first_revision();
  Decoder decoder(entry.payload());
  for (uint32_t i = 0; i < entry.command_count(); ++i, revision = revision.Next()) {
    CommandView command;
    if (!NextCommand(&decoder, &command)) return Violate("a committed entry is malformed");
    effects_[revision] = {std::string(command.key), std::string(command.value)};
    if (command.type == CommandType::kDelete) continue;
    const auto [it, fresh] = revision_of_value_.emplace(std::string(command.value), revision);
    if (fresh) continue;
    Violate(fmt::format("the write of {} takes effect twice, at revisions {} and {}", it->first,
                        it->second.value(), revision.value()));
  }
}

void Checker::CutCommitted(size_t kept, Revision revision) {
  committed_.resize(kept);
  effects_.erase(effects_.upper_bound(revision), effects_.end());
  std::erase_if(revision_of_value_, [revision](const auto& it) { return it.second > revision; });
  leaders_.clear();
  feeds_.clear();
  chains_.clear();
  std::fill(commit_checked_.begin(), commit_checked_.end(), Index());
}

void Checker::BeginHistory(size_t survivor) {
  CheckHistories();
  refused_.clear();  // what was replaced elsewhere may be all that is left
  histories_.clear();
  leader_level_.clear();
  acknowledged_.clear();
  const DiskImage& disk = *disks_[survivor];
  LogPoint kept = disk.base.point;
  SimState state = disk.state;
  std::vector<CommandOutcome> outcomes;
  for (const EntryPtr& entry : disk.log) {
    if (entry->index() > state.applied.at.index) state.Apply(*entry, &outcomes);
    const size_t place = entry->index().value() - 1;
    if (place < committed_.size() && committed_[place].chain == entry->chain()) {
      kept = entry->point();
    }
  }
  CutCommitted(kept.at.index.value(), kept.revision);
  membership_ = disk.membership();
  history_ = disk.history;
  // All that is in its log will be committed.
  for (const auto& [key, stored] : state.data) {
    histories_[key].push_back({.kind = HistoryOp::Kind::kPut,
                               .value = stored.value,
                               .begin_us = context_.now_us(),
                               .end_us = context_.now_us(),
                               .version = stored.version.value(),
                               .who = "the recovery"});
  }
}

void Checker::CheckChanges(size_t node, const Core& core) {
  if (core.role() != Role::kLeader || !core.CommittedInTerm()) return;
  size_t under_way = 0;
  for (Index i = core.commit().Next(); i <= core.log().last_index(); i = i.Next()) {
    if (core.log().At(i)->type() == EntryType::kMembership) ++under_way;
  }
  if (under_way > 1) {
    Violate(
        fmt::format("{} has {} changes of the membership under way", NodeName(node), under_way));
  }
}

std::vector<std::pair<Term, uint64_t>> Checker::CommittedUpTo(Index index) const {
  std::vector<std::pair<Term, uint64_t>> entries;
  for (size_t i = 0; i < std::min<size_t>(index.value(), committed_.size()); ++i) {
    entries.emplace_back(committed_[i].term, committed_[i].chain);
  }
  return entries;
}

// A queue takes what finds it not yet full: one entry, or one append, more than its limit.
void Checker::CheckLimits(size_t node, const Replica& replica) {
  const ReplicaOptions& options = context_.options->replica;
  const CoreOptions& limits = options.core;
  const Core& core = replica.core();
  const Log& log = core.log();
  const uint64_t entry = options.entry_bytes_max + kOneWriteBytes;
  const uint64_t append = limits.append_bytes_max + entry;
  const uint64_t window = limits.window_bytes_max + append;
  const size_t members = disks_.size();
  const auto check = [this, node](const char* what, uint64_t size, uint64_t limit) {
    if (size <= limit) return;
    Violate(fmt::format("{} holds {} {}, at most {}", NodeName(node), size, what, limit));
  };
  if (core.role() == Role::kLeader && core.CommittedInTerm()) {
    check("uncommitted bytes", log.uncommitted_bytes(), limits.uncommitted_bytes_max + 2 * entry);
  }
  check("bytes that are not durable", log.undurable_bytes(),
        std::max(limits.uncommitted_bytes_max, window) + append);
  // The rest of the memory is of entries that are not committed or not durable.
  const Index oldest = log.base().at.index.Next();
  if (oldest <= std::min(log.commit(), log.durable())) {
    check("bytes in memory", log.memory_bytes(), limits.memory_bytes_max + entry);
  }
  for (const auto& [id, progress] : core.progress()) {
    check("bytes on their way to a member", progress.in_flight_bytes(), window);
  }
  const QueueSizes queues = core.queues();
  check("bytes to be applied", queues.applying_bytes, limits.applying_bytes_max + append + entry);
  check("reads", queues.reads, limits.reads_waiting_max + 2 * members);
  check("readers", replica.reads_waiting(), limits.reads_waiting_max);
  check("stamps", queues.stamps, kStampsMax);
  check("log reads", queues.log_reads, 2 * members);
  check("bytes of proposals", replica.queue_bytes(), options.queue_bytes_max + entry);
  check("messages that wait for a write", replica.messages_waiting(), options.send_after_max);
}

void Checker::OnRefused(const std::string& who, const std::string& value) {
  if (!value.empty()) refused_.emplace(value, who);
}

void Checker::OnAcknowledged(Revision revision) {
  if (!acknowledged_.empty()) revision = std::max(revision, acknowledged_.back().second);
  acknowledged_.emplace_back(context_.now_us(), revision);
}

void Checker::OnBoundedRead(size_t node, Revision applied, uint64_t bound_us) {
  if (!Counts(node)) return;
  // A slow clock sees less time pass than there was.
  const double slowest = 1.0 - context_.options->drift;
  const auto real_us = static_cast<uint64_t>(static_cast<double>(bound_us) / slowest) + 1000;
  if (real_us > context_.now_us()) return;
  const uint64_t since_us = context_.now_us() - real_us;
  const auto later = std::partition_point(
      acknowledged_.begin(), acknowledged_.end(),
      [since_us](const auto& acknowledged) { return acknowledged.first < since_us; });
  if (later == acknowledged_.begin()) return;
  const Revision needed = std::prev(later)->second;
  if (applied >= needed) return;
  Violate(
      fmt::format("{} serves revision {} as at most {} us old, but revision {} was acknowledged "
                  "{} us ago",
                  NodeName(node), applied.value(), bound_us, needed.value(),
                  context_.now_us() - std::prev(later)->first));
}

void Checker::CheckHistories() {
  for (const auto& [value, who] : refused_) {
    if (revision_of_value_.count(value) == 0) continue;
    return Violate(
        fmt::format("{} was told that its write of {} certainly had no effect, but it is "
                    "revision {}",
                    who, value, revision_of_value_[value].value()));
  }
  for (const std::string& value : leader_level_) {
    const bool lost = !value.empty() && revision_of_value_.count(value) == 0;
    if (lost) context_.coverage->Count(Mark::kLeaderLevelLost);
  }
  for (const auto& [key, history] : histories_) {
    for (const HistoryOp& op : history) {
      if (op.kind == HistoryOp::Kind::kGet || op.version == 0) continue;
      const auto effect = effects_.find(Revision(op.version));
      if (effect != effects_.end() && effect->second.key == key &&
          effect->second.value == op.value) {
        continue;
      }
      return Violate(
          fmt::format("{}: the write of {} to {} was acknowledged as revision {}, which "
                      "is {}",
                      op.who, op.value, key, op.version,
                      effect == effects_.end() ? "not committed" : "another write"));
    }
    const std::string verdict = CheckLinearizable(history);
    if (!verdict.empty()) return Violate("key " + key + ": " + verdict);
  }
}

}  // namespace skein::sim
