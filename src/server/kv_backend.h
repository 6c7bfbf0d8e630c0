// Reads and writes of keys, as every client-facing service needs them: limits, freshness of reads,
// proposals, errors. Thread-safe.
#pragma once

#include <atomic>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "common/error.h"
#include "replication/proposal.h"
#include "replication/replica.h"
#include "server/disk_room.h"
#include "server/event_loop.h"
#include "server/node_view.h"
#include "server/read_gate.h"
#include "skein/v1/kv.pb.h"
#include "storage/data_directory.h"
#include "storage/kv_state_machine.h"

namespace skein {

struct KvLimits {
  uint64_t key_bytes_max = 64 << 10;
  uint64_t value_bytes_max = 32 << 20;
  int batch_keys_max = 1024;
  uint64_t read_wait_ms = 1000;    // until a read's node is fresh enough, if the read names no wait
  uint64_t write_wait_ms = 10000;  // until an appended write's outcome is seen
  uint64_t all_wait_ms = 5000;     // for the last voter, if the write names no wait
};

class KvBackend {
 public:
  using Ready = absl::AnyInvocable<void(absl::Status)>;
  using Written = absl::AnyInvocable<void(absl::StatusOr<ProposalResult>)>;

  // All outlive the backend.
  KvBackend(const Identity& identity, const KvLimits& limits, const KvStateMachine* state,
            EventLoop* loop, ReadGate* gate, const NodeView* view, DiskRoom* disk_room,
            const Clock* clock);

  // kInvalidArgument, naming the field, its size and the limit.
  absl::Status Check(const v1::GetRequest& request) const;
  absl::Status Check(const v1::BatchGetRequest& request) const;
  absl::Status Check(const v1::ScanRequest& request) const;
  // Also kResourceExhausted when this leads and the reserve of its disk is reached.
  absl::Status Check(const v1::PutRequest& request) const;
  absl::Status Check(const v1::DeleteRequest& request) const;

  // True if a read with these options can be answered right now.
  bool IsFresh(const v1::ReadOptions& read) const;
  // Calls `ready` on the read gate's thread once it can be, or with the reason why not.
  void WhenFresh(const v1::ReadOptions& read, Ready ready);

  absl::Status Get(const v1::GetRequest& request, v1::GetResponse* response) const;
  absl::Status BatchGet(const v1::BatchGetRequest& request, v1::BatchGetResponse* response) const;
  const KvStateMachine& state() const { return *state_; }

  // Proposes `command_count` commands that were checked. `written` is called once, from the event
  // loop's thread; it must not block.
  void Write(std::string payload, uint32_t command_count, bool has_deletes,
             const v1::WriteOptions& options, Written written);

  // The node is about to stop: as a leader it takes no more writes. Thread-safe.
  void Drain() { draining_.store(true); }
  // What is said then.
  absl::Status StoppingError() const { return WriteError(Outcome::kStopping); }

  void FillNode(v1::NodeState* node) const;
  const NodeView& view() const { return *view_; }

 private:
  absl::Status CheckKey(std::string_view key) const;
  absl::Status CheckRead(const v1::ReadOptions& read) const;
  absl::Status CheckWrite(const v1::WriteOptions& write) const;
  absl::Status WriteError(Outcome outcome) const;
  absl::Status ReadError(ReadOutcome outcome) const;
  absl::Status BehindError(const v1::ReadOptions& read) const;
  ErrorDetail LeaderDetail(ErrorReason reason, const std::string& hint) const;

  const uint64_t cluster_id_;
  const uint64_t history_;
  const KvLimits limits_;
  const KvStateMachine* const state_;
  EventLoop* const loop_;
  ReadGate* const gate_;
  const NodeView* const view_;
  DiskRoom* const disk_room_;
  const Clock* const clock_;
  std::atomic<bool> draining_{false};
};

}  // namespace skein
