#include "replication/pending_ops.h"

#include <algorithm>
#include <utility>

#include "common/planted_bug.h"

namespace skein {

void PendingOps::Add(const Entry& entry, std::vector<Proposal> proposals) {
  PendingEntry pending;
  pending.at = entry.position();
  Revision next = entry.first_revision();
  for (Proposal& proposal : proposals) {
    const uint32_t count = proposal.command_count;
    proposal.payload = std::string();  // the entry has it
    pending.waiting.push_back({std::move(proposal), next, {}});
    next = next + count;
  }
  entries_.push_back(std::move(pending));
}

bool PendingOps::IsReached(const PendingEntry& entry, const Waiting& waiting, AckLevel* reached) {
  const Proposal& proposal = waiting.proposal;
  if (proposal.level == AckLevel::kAll) {
    *reached = AckLevel::kAll;
    return entry.applied && entry.applied_by_all;
  }
  *reached = AckLevel::kQuorum;
  if (entry.committed && (!proposal.wants_outcomes || entry.applied)) return true;
  *reached = AckLevel::kLeader;
  return proposal.level == AckLevel::kLeader && !proposal.wants_outcomes && entry.durable;
}

void PendingOps::Answer(Waiting* waiting, Outcome outcome, AckLevel reached) {
  ProposalResult result;
  result.outcome = outcome;
  result.first_revision = waiting->first_revision;
  result.reached = reached;
  result.deleted = std::move(waiting->deleted);
  std::exchange(waiting->proposal.done, nullptr)(std::move(result));
}

void PendingOps::Settle() {
  for (PendingEntry& entry : entries_) {
    if (!entry.durable && !entry.committed) continue;
    std::erase_if(entry.waiting, [&entry](Waiting& waiting) {
      AckLevel reached;
      if (!IsReached(entry, waiting, &reached)) return false;
      Answer(&waiting, Outcome::kOk, reached);
      return true;
    });
  }
  std::erase_if(entries_, [](const PendingEntry& entry) { return entry.waiting.empty(); });
}

void PendingOps::OnDurable(Term term, Index index) {
  for (PendingEntry& entry : entries_) {
    if (entry.at.index > index) continue;
    if (entry.at.term == term) entry.durable = true;
  }
  Settle();
}

void PendingOps::OnCommitted(Term term, Index index) {
  for (PendingEntry& entry : entries_) {
    if (entry.at.index > index) continue;
    if (entry.at.term == term) entry.committed = true;
  }
  Settle();
}

void PendingOps::OnCommittedEntry(Position at) {
  for (PendingEntry& entry : entries_) {
    if (entry.at.index != at.index) continue;
    if (entry.at.term == at.term || SKEIN_PLANTED("acks-overwritten")) {
      entry.committed = true;
      continue;
    }
    for (Waiting& waiting : entry.waiting) Answer(&waiting, Outcome::kRejected, AckLevel::kLeader);
    entry.waiting.clear();
  }
  Settle();
}

void PendingOps::OnApplied(const Applied& applied) {
  for (PendingEntry& entry : entries_) {
    if (entry.at.index > applied.index) continue;
    if (!entry.committed) continue;  // of another term, answered by OnCommittedEntry
    entry.applied = true;
    for (Waiting& waiting : entry.waiting) {
      const Revision end = waiting.first_revision + waiting.proposal.command_count;
      for (const CommandOutcome& outcome : applied.outcomes) {
        const bool mine = outcome.revision >= waiting.first_revision && outcome.revision < end;
        if (mine && outcome.existed) waiting.deleted.push_back(outcome.revision);
      }
    }
  }
  Settle();
}

void PendingOps::OnInstalled(Index index) {
  for (PendingEntry& entry : entries_) {
    if (entry.at.index > index) continue;
    for (Waiting& waiting : entry.waiting) {
      const bool told = entry.applied || !waiting.proposal.wants_outcomes;
      if (entry.committed && told) {
        Answer(&waiting, Outcome::kOk, AckLevel::kQuorum);
      } else {
        Answer(&waiting, Outcome::kUnknown, AckLevel::kLeader);
      }
    }
    entry.waiting.clear();
  }
  Settle();
}

void PendingOps::OnAllApplied(Index index) {
  for (PendingEntry& entry : entries_) {
    if (entry.at.index > index) continue;
    entry.applied_by_all = true;
  }
  Settle();
}

void PendingOps::Expire(uint64_t now_us) {
  for (PendingEntry& entry : entries_) {
    std::erase_if(entry.waiting, [&entry, now_us](Waiting& waiting) {
      const Proposal& proposal = waiting.proposal;
      if (proposal.level == AckLevel::kAll && entry.applied && now_us >= proposal.all_deadline_us) {
        Answer(&waiting, Outcome::kOk, AckLevel::kQuorum);
        return true;
      }
      if (now_us < proposal.deadline_us) return false;
      Answer(&waiting,
             SKEIN_PLANTED("unknown-is-rejected") ? Outcome::kRejected : Outcome::kUnknown,
             AckLevel::kLeader);
      return true;
    });
  }
  std::erase_if(entries_, [](const PendingEntry& entry) { return entry.waiting.empty(); });
}

void PendingOps::FailAll() {
  for (PendingEntry& entry : entries_) {
    for (Waiting& waiting : entry.waiting) Answer(&waiting, Outcome::kUnknown, AckLevel::kLeader);
  }
  entries_.clear();
}

}  // namespace skein
