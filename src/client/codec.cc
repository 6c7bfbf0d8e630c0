#include "client/codec.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "common/coding.h"

namespace skein::client {
namespace {

constexpr uint8_t FieldTag(int number, int wire_type) {
  return static_cast<uint8_t>(number << 3 | wire_type);
}
constexpr int kVarint = 0;
constexpr int kLengthDelimited = 2;

template <typename Message>
void EncodeBody(int field, const Message& message, std::string* body) {
  body->clear();
  PutFixed8(body, FieldTag(field, kLengthDelimited));
  PutVarint(body, message.ByteSizeLong());
  message.AppendToString(body);
}

NodeRole DecodeRole(v1::Role role) {
  switch (role) {
    case v1::ROLE_LEADER:
      return NodeRole::kLeader;
    case v1::ROLE_FOLLOWER:
      return NodeRole::kFollower;
    case v1::ROLE_LEARNER:
      return NodeRole::kLearner;
    case v1::ROLE_CANDIDATE:
      return NodeRole::kCandidate;
    default:
      return NodeRole::kUnknown;
  }
}

}  // namespace

void EncodeGet(std::string_view key, const v1::ReadOptions& read, std::string* body) {
  thread_local v1::GetRequest request;
  request.set_key(key.data(), key.size());
  *request.mutable_read() = read;
  EncodeBody(v1::Request::kGetFieldNumber, request, body);
}

void EncodeBatchGet(const std::vector<std::string>& keys, const v1::ReadOptions& read,
                    std::string* body) {
  v1::BatchGetRequest request;
  request.mutable_keys()->Assign(keys.begin(), keys.end());
  *request.mutable_read() = read;
  EncodeBody(v1::Request::kBatchGetFieldNumber, request, body);
}

// A value may be large, so it is copied only once, into the body, and not into a message first.
void EncodePut(std::string_view key, std::string_view value, const v1::WriteOptions& write,
               std::string* body) {
  std::string inner;
  PutFixed8(&inner, FieldTag(v1::PutRequest::kKeyFieldNumber, kLengthDelimited));
  PutBytes(&inner, key);
  PutFixed8(&inner, FieldTag(v1::PutRequest::kWriteFieldNumber, kLengthDelimited));
  PutVarint(&inner, write.ByteSizeLong());
  write.AppendToString(&inner);
  PutFixed8(&inner, FieldTag(v1::PutRequest::kValueFieldNumber, kLengthDelimited));
  PutVarint(&inner, value.size());
  body->clear();
  body->reserve(inner.size() + value.size() + 12);
  PutFixed8(body, FieldTag(v1::Request::kPutFieldNumber, kLengthDelimited));
  PutVarint(body, inner.size() + value.size());
  body->append(inner);
  body->append(value.data(), value.size());
}

void EncodeDelete(std::string_view key, const v1::WriteOptions& write, std::string* body) {
  thread_local v1::DeleteRequest request;
  request.set_key(key.data(), key.size());
  *request.mutable_write() = write;
  EncodeBody(v1::Request::kDeleteFieldNumber, request, body);
}

void AppendRequest(uint64_t id, std::string_view body, std::string* batch) {
  size_t id_bytes = 1;
  for (uint64_t rest = id; rest >= 0x80; rest >>= 7) ++id_bytes;
  PutFixed8(batch, FieldTag(v1::PipelineRequest::kRequestsFieldNumber, kLengthDelimited));
  PutVarint(batch, 1 + id_bytes + body.size());
  PutFixed8(batch, FieldTag(v1::Request::kIdFieldNumber, kVarint));
  PutVarint(batch, id);
  batch->append(body.data(), body.size());
}

v1::ReadOptions EncodeReadOptions(const ReadOptions& options, uint64_t token, uint64_t wait_ms) {
  v1::ReadOptions read;
  read.set_wait_ms(wait_ms);
  switch (options.consistency) {
    case Consistency::kOwnWrites:
      read.set_consistency(v1::AT_LEAST);
      read.set_at_least_revision(token);
      break;
    case Consistency::kAtLeast:
      read.set_consistency(v1::AT_LEAST);
      read.set_at_least_revision(options.at_least_revision);
      break;
    case Consistency::kBounded:
      read.set_consistency(v1::BOUNDED);
      read.set_max_staleness_ms(static_cast<uint64_t>(options.max_staleness.count()));
      break;
    case Consistency::kLinearizable:
      read.set_consistency(v1::LINEARIZABLE);
      break;
    case Consistency::kAny:
      read.set_consistency(v1::ANY);
      break;
  }
  return read;
}

v1::WriteOptions EncodeWriteOptions(const WriteOptions& options, uint64_t deadline_ms) {
  v1::WriteOptions write;
  switch (options.ack) {
    case Ack::kLeader:
      write.set_ack(v1::LEADER);
      break;
    case Ack::kQuorum:
      write.set_ack(v1::QUORUM);
      break;
    case Ack::kAll: {
      // The answer must have time to arrive before the deadline makes the outcome unknown.
      const uint64_t most = deadline_ms * 3 / 4;
      const uint64_t wanted = static_cast<uint64_t>(options.all_wait.count());
      write.set_ack(v1::ALL);
      write.set_wait_ms(std::max<uint64_t>(1, wanted == 0 ? most : std::min(wanted, most)));
      break;
    }
  }
  return write;
}

absl::Status DecodeError(absl::StatusCode code, const std::string& message,
                         const v1::ErrorDetail& detail) {
  return MakeError(code, message,
                   {.reason = static_cast<ErrorReason>(detail.reason()),
                    .leader_id = detail.leader_id(),
                    .leader_address = detail.leader_address(),
                    .term = detail.term(),
                    .maybe_applied = detail.maybe_applied(),
                    .applied_revision = detail.applied_revision(),
                    .hint = detail.hint()});
}

absl::Status DecodeError(const v1::Error& error) {
  // A failure that says "fine" would be taken for a success.
  const int code = error.code() == 0 ? static_cast<int>(absl::StatusCode::kInternal) : error.code();
  return DecodeError(static_cast<absl::StatusCode>(code), error.message(), error.detail());
}

Ack DecodeAck(v1::AckLevel level) {
  switch (level) {
    case v1::LEADER:
      return Ack::kLeader;
    case v1::ALL:
      return Ack::kAll;
    default:
      return Ack::kQuorum;
  }
}

AnsweredBy DecodeNode(const v1::NodeState& node) {
  return {node.node_id(), node.applied_revision(), node.staleness_ms()};
}

NodeReport ReportOf(const v1::NodeState& node) {
  return {
      node.node_id(),      node.leader_id(),  Term(node.term()), Revision(node.applied_revision()),
      node.staleness_ms(), node.cluster_id(), node.history()};
}

NodeReport ReportOf(const v1::StatusResponse& status) {
  NodeReport report = {status.node_id(), status.leader_id(), Term(status.term()),
                       Revision(status.applied_revision()), status.staleness_ms()};
  if (!absl::SimpleHexAtoi(status.cluster_id(), &report.cluster_id)) report.cluster_id = 0;
  if (!absl::SimpleHexAtoi(status.history(), &report.history)) report.history = 0;
  return report;
}

MemberList MembersOf(const v1::StatusResponse& status) {
  MemberList list;
  list.index = Index(status.membership_index());
  const bool from_leader = status.role() == v1::ROLE_LEADER;
  for (const v1::MemberStatus& member : status.members()) {
    Member& out = list.members.emplace_back();
    out.id = member.id();
    out.address = member.address();
    out.voter = member.voter();
    if (from_leader) out.catching_up = member.has_catch_up();
    if (from_leader && member.has_lag()) {
      out.lag_ms = static_cast<int64_t>(member.lag().milliseconds());
    }
  }
  return list;
}

NodeStatus DecodeStatus(const v1::StatusResponse& status) {
  NodeStatus node;
  node.id = status.node_id();
  node.reachable = true;
  node.role = DecodeRole(status.role());
  node.version = status.version();
  node.protocol_version = std::max(status.protocol_version(), 1u);
  node.term = status.term();
  node.has_quorum = status.has_quorum();
  node.first_index = status.first_index();
  node.last_index = status.last_index();
  node.durable_index = status.durable_index();
  node.commit_index = status.commit_index();
  node.applied_index = status.applied_index();
  node.commit_revision = status.commit_revision();
  node.applied_revision = status.applied_revision();
  node.staleness_ms = status.staleness_ms();
  node.uptime_ms = status.uptime_ms();
  node.elections_won = status.elections_won();
  return node;
}

CatchUpState DecodeCatchUp(const v1::CatchUp& catch_up) {
  CatchUpState state;
  switch (catch_up.way()) {
    case v1::CatchUp::WAY_LOG:
      state.way = CatchUpWay::kLog;
      break;
    case v1::CatchUp::WAY_SNAPSHOT:
      state.way = CatchUpWay::kSnapshot;
      break;
    case v1::CatchUp::WAY_INSTALL:
      state.way = CatchUpWay::kInstall;
      break;
    default:
      state.way = CatchUpWay::kUnknown;
  }
  state.bytes_done = catch_up.bytes_done();
  state.bytes_left = catch_up.bytes_left();
  state.bytes_per_second = catch_up.bytes_per_second();
  state.source_id = catch_up.source_id();
  return state;
}

ClusterMembers DecodeMembers(const v1::MembersResponse& members) {
  ClusterMembers result;
  result.told_by = members.node_id();
  result.cluster_id = members.cluster_id();
  result.cluster_token = members.cluster_token();
  result.index = members.membership_index();
  result.committed = members.committed();
  for (const v1::Member& member : members.members()) {
    result.members.push_back({member.id(), member.address(), member.voter(),
                              member.promote_when_level(), member.incarnation(),
                              member.never_votes(), member.upstream_id()});
  }
  return result;
}

BatchGetResult DecodeBatchGet(std::string_view body, v1::BatchGetResponse* response) {
  v1::Request request;
  request.ParseFromArray(body.data(), static_cast<int>(body.size()));
  BatchGetResult result;
  const int count = std::min(request.batch_get().keys_size(), response->results_size());
  for (int i = 0; i < count; ++i) {
    v1::GetResponse* one = response->mutable_results(i);
    if (!one->found()) {
      result.items.emplace_back(std::nullopt);
      continue;
    }
    result.items.emplace_back(KeyValue{std::move(*request.mutable_batch_get()->mutable_keys(i)),
                                       std::move(*one->mutable_value()), one->version()});
  }
  return result;
}

}  // namespace skein::client
