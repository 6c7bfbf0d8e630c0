// Between the public types and the messages of proto/skein/v1. Names protobuf, not gRPC.
//
// A request is encoded once, on the caller's thread, as the fields of a skein.v1.Request without
// its id: the body. AppendRequest puts the id before it, so that a batch is a concatenation and a
// retry encodes nothing anew.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/cluster_view.h"
#include "common/error.h"
#include "skein/membership.h"
#include "skein/options.h"
#include "skein/results.h"
#include "skein/v1/cluster.pb.h"
#include "skein/v1/kv.pb.h"

namespace skein::client {

// Replaces *body.
void EncodeGet(std::string_view key, const v1::ReadOptions& read, std::string* body);
void EncodeBatchGet(const std::vector<std::string>& keys, const v1::ReadOptions& read,
                    std::string* body);
void EncodePut(std::string_view key, std::string_view value, const v1::WriteOptions& write,
               std::string* body);
void EncodeDelete(std::string_view key, const v1::WriteOptions& write, std::string* body);

// An upper bound of what AppendRequest adds to a batch.
inline size_t RequestBytesMax(std::string_view body) { return body.size() + 24; }
void AppendRequest(uint64_t id, std::string_view body, std::string* batch);

// `wait_ms`: how long the node may wait to become fresh enough.
v1::ReadOptions EncodeReadOptions(const ReadOptions& options, uint64_t token, uint64_t wait_ms);
v1::WriteOptions EncodeWriteOptions(const WriteOptions& options, uint64_t deadline_ms);

absl::Status DecodeError(const v1::Error& error);
// A detail that came without a code of its own, as in a trailer.
absl::Status DecodeError(absl::StatusCode code, const std::string& message,
                         const v1::ErrorDetail& detail);
Ack DecodeAck(v1::AckLevel level);
AnsweredBy DecodeNode(const v1::NodeState& node);
NodeReport ReportOf(const v1::NodeState& node);
NodeReport ReportOf(const v1::StatusResponse& status);
MemberList MembersOf(const v1::StatusResponse& status);
NodeStatus DecodeStatus(const v1::StatusResponse& status);
CatchUpState DecodeCatchUp(const v1::CatchUp& catch_up);
ClusterMembers DecodeMembers(const v1::MembersResponse& members);
// `keys` in the order asked, taken from the body of the request.
BatchGetResult DecodeBatchGet(std::string_view body, v1::BatchGetResponse* response);

}  // namespace skein::client
