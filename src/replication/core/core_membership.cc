// Changes of the membership, and handing leadership over: R22 to R25, R28.
#include <algorithm>
#include <iterator>
#include <utility>

#include "common/check.h"
#include "common/planted_bug.h"
#include "replication/core/core.h"

namespace skein {

EntryPtr Core::Append(EntryType type, uint32_t commands, uint64_t cluster_time_ms,
                      std::string_view payload) {
  if (log_.InMemory(log_.last_index())) {
    cluster_time_ms = std::max(cluster_time_ms, log_.At(log_.last_index())->cluster_time_ms());
  }
  EntryPtr entry = Entry::Build(log_.last(), term_, type, commands, cluster_time_ms, payload);
  log_.Append(entry);
  verified_ = log_.last_index();
  return entry;
}

ChangeResult Core::ProposeChange(const MembershipChange& change, uint64_t cluster_time_ms) {
  absl::Status refused = RefuseChange(change);
  if (!refused.ok()) return {std::move(refused), nullptr};
  absl::StatusOr<Membership> next = ChangeMembership(membership(), change);
  if (!next.ok()) return {next.status(), nullptr};
  refused = RefuseIfNotUnderstood(*next);
  if (!refused.ok()) return {std::move(refused), nullptr};
  Notice("proposes: " + Describe(membership(), change));
  EntryPtr entry = Append(EntryType::kMembership, 0, cluster_time_ms, EncodeMembership(*next));
  memberships_.push_back({entry->index(), *std::move(next)});
  UseMembership();
  return {absl::OkStatus(), std::move(entry)};
}

absl::Status Core::RefuseChange(const MembershipChange& change) const {
  if (role_ != Role::kLeader) return absl::UnavailableError("this node does not lead");
  if (transfer_) return absl::UnavailableError("leadership is being handed over");
  // R22: an entry of another term may change the membership as well, unseen.
  if (!committed_in_term_ && !SKEIN_PLANTED("changes-before-own-term")) {
    return absl::UnavailableError("the leader has only just been elected, try again");
  }
  if (memberships_.back().index > log_.commit() && !SKEIN_PLANTED("two-changes-at-once")) {
    return absl::FailedPreconditionError(
        "another change of the membership is not committed yet, wait for it");
  }
  if (const auto* promotion = std::get_if<PromoteMember>(&change)) {
    // R26: else two directories could vote in its name.
    const Member* member = membership().Find(promotion->id);
    const bool unseen = member != nullptr && !member->voter && member->incarnation == 0;
    if (unseen && !SKEIN_PLANTED("promotes-unrecorded")) {
      return absl::FailedPreconditionError(member->name + " has not joined yet");
    }
    const bool possible = member == nullptr || !member->never_votes;
    return possible ? RefuseIfBehind(promotion->id) : absl::OkStatus();
  }
  if (const auto* removal = std::get_if<RemoveMember>(&change)) return RefuseRemoval(*removal);
  return absl::OkStatus();
}

// R27: a member that does not know what an entry holds stops. Once a membership needs a version,
// who does not speak it is not let in.
absl::Status Core::RefuseIfNotUnderstood(const Membership& next) const {
  const uint32_t required = next.RequiredVersion();
  if (required <= membership().RequiredVersion()) return absl::OkStatus();
  const bool self_is_old = options_.protocol_version < required;
  for (const Member& member : membership().members) {
    const uint32_t version = VersionOf(member.id);
    if (version >= required || SKEIN_PLANTED("uses-new-version-early")) continue;
    if (self_is_old && member.id != self_) continue;  // whatever they speak, not with this node
    const std::string needs = "this needs protocol version " + std::to_string(required) +
                              " on all members, and " + member.name;
    return absl::FailedPreconditionError(
        version == 0 ? needs + " has not been connected to: start it, or remove it"
                     : needs + " speaks version " + std::to_string(version) + ": upgrade it first");
  }
  return absl::OkStatus();
}

// R24, R28: a voter that lacks much of the log makes a quorum harder to reach, and adds none; nor
// can it lead soon.
absl::Status Core::RefuseIfBehind(NodeId id) const {
  const auto it = progress_.find(id);
  if (it == progress_.end()) return absl::OkStatus();  // refused as no member, or as a voter
  const Progress& progress = it->second;
  if (!Reaches(progress)) return absl::FailedPreconditionError(NameOf(id) + " cannot be reached");
  if (progress.mode == Progress::Mode::kReplicate && IsLevel(progress)) return absl::OkStatus();
  const uint64_t lag = log_.last_index() - std::min(progress.Has(), log_.last_index());
  return absl::FailedPreconditionError(NameOf(id) + " lacks " + std::to_string(lag) +
                                       " entries of the log, too many or too long ones; ask again "
                                       "when it is level");
}

bool Core::IsLevel(const Progress& progress) const {
  const Index has = std::min(progress.Has(), log_.last_index());
  return log_.last_index() - has <= options_.level_entries_max &&
         has.Next() >= log_.FirstWithin(options_.level_bytes_max);
}

// It has answered this leader, and of late.
bool Core::Reaches(const Progress& progress) const {
  return progress.link_up && progress.acked_round != 0 &&
         progress.ticks_since_heard < options_.election_ticks_max;
}

// Of a member that had been removed: where its id joined again. 0: it has always been a member, or
// never before, as far as the log tells.
Index Core::AddedAgainAt(NodeId id) const {
  const auto has = [id](const MembershipAt& at) { return at.membership.Find(id) != nullptr; };
  const auto gap = std::find_if_not(memberships_.rbegin(), memberships_.rend(), has);
  if (gap == memberships_.rbegin() || !std::any_of(gap, memberships_.rend(), has)) return Index();
  return std::prev(gap)->index;
}

// R25: what is left must be able to form a quorum now. Who fetches a snapshot cannot help until it
// has it.
absl::Status Core::RefuseRemoval(const RemoveMember& change) const {
  if (change.force || !membership().IsVoter(change.id)) return absl::OkStatus();
  size_t voters = 0;
  size_t reachable = 0;
  std::string fetching;
  for (const Member& member : membership().members) {
    if (!member.voter || member.id == change.id) continue;
    ++voters;
    const auto it = progress_.find(member.id);
    const bool reached = it != progress_.end() && Reaches(it->second);
    const bool fetches = reached && it->second.mode == Progress::Mode::kSnapshot;
    if (fetches) fetching += (fetching.empty() ? "" : ", ") + member.name;
    if (member.id == self_ || (reached && !fetches)) ++reachable;
  }
  if (voters == 0 || reachable >= voters / 2 + 1) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "without " + NameOf(change.id) + " only " + std::to_string(reachable) + " of " +
      std::to_string(voters) + " voters can be reached" +
      (fetching.empty() ? "" : " and have the log (" + fetching + " is fetching a snapshot)") +
      ", which is no quorum; bring a node back first, or force it");
}

// R23: from this entry on, committed or not. False: nothing further may be done.
bool Core::AppendMembership(const Entry& entry) {
  Membership next;
  if (!DecodeMembership(entry.payload(), &next) || next.VoterCount() == 0) {
    Fatal("entry " + std::to_string(entry.index().value()) + " holds a malformed membership");
    return false;
  }
  memberships_.push_back({entry.index(), std::move(next)});
  UseMembership();
  return true;
}

void Core::TruncateFrom(Index first) {
  log_.TruncateFrom(first);
  const size_t before = memberships_.size();
  while (memberships_.size() > 1 && memberships_.back().index >= first &&
         !SKEIN_PLANTED("keeps-truncated-membership")) {
    memberships_.pop_back();
  }
  if (memberships_.size() < before) UseMembership();
}

// The leader feeds who is a member now.
void Core::UseMembership() {
  if (role_ != Role::kLeader) return;
  std::erase_if(progress_,
                [this](const auto& known) { return membership().Find(known.first) == nullptr; });
  for (const Member& member : membership().members) {
    if (member.id == self_ || progress_.contains(member.id)) continue;
    Progress progress(log_.last_index().Next());
    progress.link_up = LinkIsUp(member.id);
    progress_.emplace(member.id, progress);
  }
}

MembershipsInForce Core::memberships() const {
  auto committed = std::prev(memberships_.end());
  while (committed != memberships_.begin() && committed->index > log_.commit()) --committed;
  return {*committed, memberships_.back()};
}

std::string Core::NameOf(NodeId id) const {
  for (auto at = memberships_.rbegin(); at != memberships_.rend(); ++at) {
    if (const Member* member = at->membership.Find(id); member != nullptr) return member->name;
  }
  return memberships_.back().membership.NameOf(id);
}

void Core::MaybePromote() {
  for (const Member& member : membership().members) {
    if (!member.promote_when_level) continue;
    if (ProposeChange(PromoteMember{member.id}, 0).status.ok()) return;
  }
}

// Thesis 4.2.2: it led until its own removal was committed. Who hears of that listens to it no
// longer; therefore its successor hears first that it is to campaign.
void Core::LeaveIfRemoved() {
  if (role_ != Role::kLeader || membership().IsVoter(self_)) return;
  if (memberships_.back().index > log_.commit()) return;
  const NodeId successor = transfer_ ? transfer_->target : BestVoter();
  if (successor != NodeId()) Send(successor, term_, TimeoutNowMessage{});
  BecomeFollower(term_, NodeId(), "is a voter no longer");
}

absl::Status Core::Transfer(NodeId target) {
  if (role_ != Role::kLeader) return absl::UnavailableError("this node does not lead");
  if (transfer_) {
    return absl::FailedPreconditionError("leadership is being handed over to " +
                                         NameOf(transfer_->target) + " already");
  }
  if (target == self_) return absl::AlreadyExistsError(NameOf(self_) + " leads already");
  if (target == NodeId()) target = BestVoter();
  if (target == NodeId()) return absl::FailedPreconditionError("no other voter can be reached");
  if (!membership().IsVoter(target)) {
    return absl::FailedPreconditionError(NameOf(target) + " is not a voter");
  }
  const absl::Status lags = RefuseIfBehind(target);
  if (!lags.ok()) return lags;
  Notice("hands leadership over to " + NameOf(target));
  transfer_ = Handover{.target = target, .ticks_left = options_.election_ticks_min};
  return absl::OkStatus();
}

void Core::TransferTick() {
  if (!transfer_ || --transfer_->ticks_left > 0) return;
  EndTransfer(absl::DeadlineExceededError(NameOf(transfer_->target) +
                                          " did not take over in time; this node leads on"));
}

// Thesis 3.10: once the target has the whole log.
void Core::MaybeTransfer() {
  if (!transfer_ || transfer_->asked) return;
  if (progress_.at(transfer_->target).match < log_.last_index()) return;
  transfer_->asked = true;
  Send(transfer_->target, term_, TimeoutNowMessage{});
}

void Core::EndTransfer(absl::Status how) {
  if (!transfer_) return;
  if (!how.ok()) Notice(std::string(how.message()));
  transfer_.reset();
  ready_.transfer_over = std::move(how);
}

}  // namespace skein
