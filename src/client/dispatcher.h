// The engine of a client: one thread that owns every call under way, what is believed of the
// cluster, and the outboxes of the nodes. It carries out what Router and CallPlan decide.
//
// A batch is whatever gathered in a node's outbox while the batch before it was being written;
// no timer delays anything. Deadlines, attempts' times and retries are found by sweeping a dense
// array every few milliseconds, so that a call sets no timer either.
//
// Threads: Submit, RunOnLoop, token functions and OnLoopThread from any; the rest is private to
// the loop. User callbacks run on the loop thread with no lock held.
//
// Invariants.
//  1. An operation in state kSent was handed to Wire on the stream that its slot has now; any
//     other operation is not on the wire.
//  2. NodeBelief::in_flight counts the operations in state kQueued or kSent of that slot.
//  3. After `stopped_`, every submitted operation is completed with CANCELLED.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "client/cluster_view.h"
#include "client/operation.h"
#include "client/router.h"
#include "client/wire.h"
#include "common/clock.h"
#include "common/mutex.h"
#include "common/random.h"

namespace skein::v1 {
class Response;
class NodeState;
}  // namespace skein::v1

namespace skein::client {

class Dispatcher final : private WireEvents {
 public:
  Dispatcher(const std::vector<std::string>& endpoints, const ClientOptions& options,
             std::shared_ptr<ChannelPool> channels);
  ~Dispatcher() override;

  // With key, body, plan, policy and done filled in.
  void Submit(std::unique_ptr<Operation> operation);
  // Runs `task` on the loop thread soon, or at the latest while shutting down.
  using Task = absl::AnyInvocable<void(ClusterView*, Router*)>;
  void RunOnLoop(Task task);
  bool OnLoopThread() const { return std::this_thread::get_id() == loop_.get_id(); }

  const ClientOptions& options() const { return options_; }
  uint64_t NowMicros() const { return clock_.MonotonicMicros(); }
  uint64_t token() const { return token_.load(std::memory_order_acquire); }
  void RaiseToken(uint64_t revision);
  // That of an answer outside the streams. False: it is not of the history that goes on.
  bool IsOurs(uint64_t cluster_id) const {
    const uint64_t ours = cluster_id_.load(std::memory_order_acquire);
    return cluster_id == 0 || ours == 0 || cluster_id == ours;
  }

 private:
  enum class LinkState : uint8_t { kClosed, kOpening, kOpen, kBroken };

  // The stream to one node, by slot.
  struct Link {
    LinkState state = LinkState::kClosed;
    bool writing = false;
    bool asking_status = false;
    bool abandoned = false;       // by this client: how it ends tells nothing of the node
    uint32_t failures = 0;        // in a row, to open or keep a stream
    uint64_t retry_at_us = 0;     // not opened before
    uint64_t heard_at_us = 0;     // an answer came
    std::deque<uint64_t> outbox;  // ids; stale ones are skipped
    absl::Status last_error;
  };

  // WireEvents
  void OnOpen(size_t slot) override;
  void OnWritten(size_t slot) override;
  void OnAnswers(size_t slot, v1::PipelineResponse* answers) override;
  void OnBroken(size_t slot) override;
  void OnClosed(size_t slot, const absl::Status& why) override;
  void OnStatus(size_t slot, const absl::Status& error, const v1::StatusResponse& status) override;

  void Loop();
  void TakeSubmissions();
  uint64_t PollTimeout();
  void Sweep();
  void Refresh();
  void WantRefresh() { refresh_wanted_ = true; }
  Link& LinkOf(size_t slot);
  // What the node says of itself; true if the believed leader changed.
  bool Observe(size_t slot, const NodeReport& report);
  // Gives the stream up; nothing is written into it any more.
  void Abandon(size_t slot);

  void Route(uint64_t id);
  void Enqueue(uint64_t id, Operation* operation, size_t slot);
  void Flush(size_t slot);
  void OnDue(uint64_t id);
  void OnAnswer(size_t slot, v1::Response* response, const v1::NodeState& node);
  void OnLeaderChanged();
  // The current attempt ended this way: retry, or tell the caller.
  void Conclude(uint64_t id, Outcome outcome);
  Circumstances CircumstancesAfter(const Operation& operation, const Outcome& outcome);
  void Unassign(Operation* operation);
  void Succeed(uint64_t id, v1::Response* response, const v1::NodeState& node);
  void FailAll();

  // Constant after construction.
  const ClientOptions options_;
  const SystemClock clock_;

  std::atomic<uint64_t> token_{0};
  std::atomic<uint64_t> cluster_id_{0};  // as `view_` has it

  // Between callers and the loop.
  Mutex mu_;
  std::vector<std::unique_ptr<Operation>> submitted_ ABSL_GUARDED_BY(mu_);
  std::vector<Task> tasks_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;  // nothing is taken any more

  // Set under `mu_` when nothing is submitted and the loop is about to wait: whoever clears it
  // must wake the loop.
  std::atomic<bool> loop_waits_{false};

  // Owned by the loop thread.
  ClusterView view_;
  Router router_;
  Wire wire_;
  Random random_;
  OperationTable operations_;
  std::vector<Link> links_;
  std::vector<std::unique_ptr<Operation>> taken_;        // scratch
  std::vector<std::unique_ptr<Operation>> resubmitted_;  // by callbacks, on the loop thread
  uint64_t now_us_ = 0;
  uint64_t next_sweep_us_ = 0;
  uint64_t last_refresh_us_ = 0;
  bool refresh_wanted_ = true;
  uint64_t started_us_ = 0;
  bool discovered_ = false;  // some node has told its members

  std::thread loop_;
};

}  // namespace skein::client
