#include "server/kv_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace skein {

KvBackend::KvBackend(const Identity& identity, const KvLimits& limits, const KvStateMachine* state,
                     EventLoop* loop, ReadGate* gate, const NodeView* view, DiskRoom* disk_room,
                     const Clock* clock)
    : cluster_id_(identity.cluster_id),
      history_(identity.history),
      limits_(limits),
      state_(state),
      loop_(loop),
      gate_(gate),
      view_(view),
      disk_room_(disk_room),
      clock_(clock) {}

absl::Status KvBackend::CheckKey(std::string_view key) const {
  if (key.empty()) return InvalidField("key is empty; a key has at least 1 byte");
  if (key.size() > limits_.key_bytes_max) {
    return InvalidField(
        fmt::format("key has {} bytes, the limit is {}", key.size(), limits_.key_bytes_max));
  }
  return absl::OkStatus();
}

absl::Status KvBackend::CheckRead(const v1::ReadOptions& read) const {
  if (v1::Consistency_IsValid(read.consistency())) return absl::OkStatus();
  return InvalidField(fmt::format("read.consistency {} is not a known value",
                                  static_cast<int>(read.consistency())));
}

absl::Status KvBackend::CheckWrite(const v1::WriteOptions& write) const {
  if (v1::AckLevel_IsValid(write.ack())) return absl::OkStatus();
  return InvalidField(
      fmt::format("write.ack {} is not a known value", static_cast<int>(write.ack())));
}

absl::Status KvBackend::Check(const v1::GetRequest& request) const {
  const absl::Status key = CheckKey(request.key());
  return key.ok() ? CheckRead(request.read()) : key;
}

absl::Status KvBackend::Check(const v1::BatchGetRequest& request) const {
  if (request.keys_size() > limits_.batch_keys_max) {
    return InvalidField(fmt::format("keys has {} entries, the limit is {}", request.keys_size(),
                                    limits_.batch_keys_max));
  }
  for (const std::string& key : request.keys()) {
    const absl::Status status = CheckKey(key);
    if (!status.ok()) return status;
  }
  return CheckRead(request.read());
}

absl::Status KvBackend::Check(const v1::ScanRequest& request) const {
  const bool has_range = !request.start().empty() || !request.end().empty();
  if (!request.prefix().empty() && has_range) {
    return InvalidField("prefix and start or end exclude each other; give one of them");
  }
  if (!request.end().empty() && request.start() > request.end()) {
    return InvalidField("start is above end; a range is [start, end)");
  }
  for (const std::string* bound : {&request.start(), &request.end(), &request.prefix()}) {
    if (bound->empty()) continue;
    const absl::Status status = CheckKey(*bound);
    if (!status.ok()) return status;
  }
  return CheckRead(request.read());
}

absl::Status KvBackend::Check(const v1::PutRequest& request) const {
  const absl::Status key = CheckKey(request.key());
  if (!key.ok()) return key;
  if (request.value().size() > limits_.value_bytes_max) {
    return InvalidField(fmt::format("value has {} bytes, the limit is {}", request.value().size(),
                                    limits_.value_bytes_max));
  }
  const absl::Status write = CheckWrite(request.write());
  if (!write.ok() || disk_room_->Take(request.key().size() + request.value().size())) return write;
  if (view_->leadership()->role != Role::kLeader) return write;  // another will take it
  return MakeError(absl::StatusCode::kResourceExhausted,
                   view_->node_name() + " has reached its disk reserve",
                   {.reason = ErrorReason::kDiskReserve,
                    .hint = "free disk space on the leader; deletes are still taken"});
}

absl::Status KvBackend::Check(const v1::DeleteRequest& request) const {
  const absl::Status key = CheckKey(request.key());
  return key.ok() ? CheckWrite(request.write()) : key;
}

bool KvBackend::IsFresh(const v1::ReadOptions& read) const {
  switch (read.consistency()) {
    case v1::ANY:
      return true;
    case v1::BOUNDED: {
      const int64_t staleness_ms = view_->StalenessMillis();
      return staleness_ms >= 0 && staleness_ms <= static_cast<int64_t>(read.max_staleness_ms());
    }
    case v1::LINEARIZABLE:
      return false;
    default:
      return state_->applied_revision() >= Revision(read.at_least_revision());
  }
}

void KvBackend::WhenFresh(const v1::ReadOptions& read, Ready ready) {
  const uint64_t wait_ms = read.wait_ms() != 0 ? read.wait_ms() : limits_.read_wait_ms;
  const uint64_t deadline_us = clock_->MonotonicMicros() + wait_ms * 1000;
  const bool leads = view_->leadership()->role == Role::kLeader;
  if (IsFresh(read) || (read.consistency() == v1::BOUNDED && !leads)) {
    gate_->Run([this, read, ready = std::move(ready)](bool) mutable {
      ready(IsFresh(read) ? absl::OkStatus() : BehindError(read));
    });
    return;
  }
  // What a leader has proven is as fresh as any bound.
  if (read.consistency() == v1::LINEARIZABLE || read.consistency() == v1::BOUNDED) {
    loop_->PostTask([this, deadline_us, ready = std::move(ready)](Replica& replica) mutable {
      replica.Read(deadline_us, [this, ready = std::move(ready)](ReadOutcome outcome) mutable {
        gate_->Run(
            [this, outcome, ready = std::move(ready)](bool) mutable { ready(ReadError(outcome)); });
      });
    });
    return;
  }
  gate_->WhenApplied(Revision(read.at_least_revision()), deadline_us,
                     [this, read, ready = std::move(ready)](bool reached) mutable {
                       ready(reached ? absl::OkStatus() : BehindError(read));
                     });
}

absl::Status KvBackend::ReadError(ReadOutcome outcome) const {
  switch (outcome) {
    case ReadOutcome::kGranted:
      return absl::OkStatus();
    case ReadOutcome::kBehind:
      return MakeError(
          absl::StatusCode::kDeadlineExceeded,
          fmt::format("{} has applied revision {}, not yet all that was committed before the read",
                      view_->node_name(), state_->applied_revision().value()),
          LeaderDetail(ErrorReason::kBehind, "ask another node, or wait longer"));
    case ReadOutcome::kQueueFull:
      return WriteError(Outcome::kQueueFull);
    case ReadOutcome::kNotConfirmed:
      break;
  }
  return WriteError(Outcome::kNotLeader);
}

absl::Status KvBackend::BehindError(const v1::ReadOptions& read) const {
  const uint64_t applied = state_->applied_revision().value();
  if (read.consistency() == v1::BOUNDED) {
    return MakeError(absl::StatusCode::kUnavailable,
                     fmt::format("{} cannot prove that its state is at most {} ms old",
                                 view_->node_name(), read.max_staleness_ms()),
                     LeaderDetail(ErrorReason::kStale, "ask the leader, or allow more staleness"));
  }
  return MakeError(absl::StatusCode::kDeadlineExceeded,
                   fmt::format("{} has applied revision {}, not yet {}", view_->node_name(),
                               applied, read.at_least_revision()),
                   LeaderDetail(ErrorReason::kBehind, "ask another node, or wait longer"));
}

absl::Status KvBackend::Get(const v1::GetRequest& request, v1::GetResponse* response) const {
  auto found = state_->Get(request.key());
  if (!found.ok()) return found.status();
  response->set_found(found->has_value());
  if (!found->has_value()) return absl::OkStatus();
  response->set_version((*found)->version.value());
  response->set_value(std::move((*found)->value));
  return absl::OkStatus();
}

absl::Status KvBackend::BatchGet(const v1::BatchGetRequest& request,
                                 v1::BatchGetResponse* response) const {
  const std::vector<std::string_view> keys(request.keys().begin(), request.keys().end());
  auto found = state_->MultiGet(keys);
  if (!found.ok()) return found.status();
  for (auto& item : *found) {
    v1::GetResponse* result = response->add_results();
    result->set_found(item.has_value());
    if (!item.has_value()) continue;
    result->set_version(item->version.value());
    result->set_value(std::move(item->value));
  }
  return absl::OkStatus();
}

void KvBackend::Write(std::string payload, uint32_t command_count, bool has_deletes,
                      const v1::WriteOptions& options, Written written) {
  const uint64_t now_us = clock_->MonotonicMicros();
  const uint64_t wait_ms = options.wait_ms() != 0 ? options.wait_ms() : limits_.all_wait_ms;
  Proposal proposal;
  proposal.payload = std::move(payload);
  proposal.command_count = command_count;
  proposal.wants_outcomes = has_deletes;
  proposal.level = options.ack() == v1::ACK_LEVEL_UNSPECIFIED
                       ? AckLevel::kQuorum
                       : static_cast<AckLevel>(options.ack());
  proposal.all_deadline_us = now_us + wait_ms * 1000;
  proposal.deadline_us = std::max(now_us + limits_.write_wait_ms * 1000, proposal.all_deadline_us);
  proposal.done = [this, written = std::move(written)](ProposalResult result) mutable {
    if (result.outcome == Outcome::kOk) {
      written(std::move(result));
    } else {
      written(WriteError(result.outcome));
    }
  };
  loop_->PostTask([this, proposal = std::move(proposal)](Replica& replica) mutable {
    if (draining_.load() && replica.core().role() == Role::kLeader) {
      ProposalResult refused;
      refused.outcome = Outcome::kStopping;
      proposal.done(std::move(refused));
      return;
    }
    replica.Propose(std::move(proposal));
  });
}

ErrorDetail KvBackend::LeaderDetail(ErrorReason reason, const std::string& hint) const {
  const auto leadership = view_->leadership();
  ErrorDetail detail;
  detail.reason = reason;
  detail.leader_id = leadership->leader_name;
  detail.leader_address = leadership->leader_address;
  detail.term = leadership->term.value();
  detail.applied_revision = state_->applied_revision().value();
  detail.hint = hint;
  return detail;
}

absl::Status KvBackend::WriteError(Outcome outcome) const {
  const std::string& name = view_->node_name();
  const auto leadership = view_->leadership();
  switch (outcome) {
    case Outcome::kOk:
      return absl::OkStatus();
    case Outcome::kUnknown: {
      ErrorDetail detail = LeaderDetail(ErrorReason::kOutcomeUnknown,
                                        "read the key to see whether the write took effect");
      detail.maybe_applied = true;
      return MakeError(absl::StatusCode::kUnknown,
                       name + " appended the write but could not see its outcome", detail);
    }
    case Outcome::kQueueFull:
      return MakeError(absl::StatusCode::kResourceExhausted, name + " has too many requests queued",
                       LeaderDetail(ErrorReason::kQueueFull, "send more slowly and try again"));
    case Outcome::kStopping:
      return MakeError(absl::StatusCode::kUnavailable, name + " is stopping",
                       LeaderDetail(ErrorReason::kShuttingDown, "ask another node"));
    case Outcome::kNoQuorum:
      return MakeError(
          absl::StatusCode::kUnavailable, name + " reaches too few voters to commit anything",
          LeaderDetail(ErrorReason::kNoQuorum, "start the missing nodes or mend the network"));
    case Outcome::kRejected:
    case Outcome::kNotLeader:
      break;
  }
  if (leadership->leader_name.empty() || leadership->leader_name == name) {
    if (!leadership->has_quorum) return WriteError(Outcome::kNoQuorum);
    const std::string text = leadership->leader_name.empty()
                                 ? " is not the leader and knows none at the moment"
                                 : " cannot confirm that it leads";
    return MakeError(absl::StatusCode::kUnavailable, name + text,
                     LeaderDetail(ErrorReason::kNotLeader, "an election is under way, try again"));
  }
  return MakeError(absl::StatusCode::kUnavailable,
                   fmt::format("{} is not the leader, {} is", name, leadership->leader_name),
                   LeaderDetail(ErrorReason::kNotLeader, "send writes to the leader"));
}

void KvBackend::FillNode(v1::NodeState* node) const {
  const auto leadership = view_->leadership();
  node->set_node_id(view_->node_name());
  node->set_cluster_id(cluster_id_);
  node->set_history(history_);
  node->set_leader_id(leadership->leader_name);
  node->set_term(leadership->term.value());
  node->set_applied_revision(state_->applied_revision().value());
  node->set_staleness_ms(leadership->role == Role::kLeader ? 0 : view_->StalenessMillis());
}

}  // namespace skein
