// Fetches snapshots from other nodes into this node's `incoming/`, one at a time, on a thread of
// its own. A broken connection is opened anew and goes on where it stood, as long as something
// comes.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "replication/grpc/hello.h"
#include "replication/log_store.h"
#include "replication/snapshot_fetcher.h"
#include "skein/v1/replication.grpc.pb.h"
#include "storage/incoming_snapshot.h"

namespace skein {

class SnapshotClient final : public SnapshotFetcher {
 public:
  // All outlive it. `own_addresses`: where this node reaches others, by their names, if not where
  // the cluster does.
  SnapshotClient(const HelloGate* gate, IncomingSnapshot* incoming, EventSink* sink,
                 const std::map<std::string, std::string>& own_addresses = {});
  ~SnapshotClient() override;

  void Fetch(const SnapshotFetch& fetch) override ABSL_LOCKS_EXCLUDED(mu_);
  // Ends what is under way, without a word. Idempotent.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Run();
  absl::StatusOr<LogBase> FetchWhole(const SnapshotFetch& fetch);
  absl::Status FetchSome(const SnapshotFetch& fetch, v1::Snapshots::Stub* source);
  absl::Status Take(const v1::FetchResponse& response);
  void Tell(bool at_once);
  bool IsOver() const ABSL_LOCKS_EXCLUDED(mu_);

  const HelloGate* const gate_;
  IncomingSnapshot* const incoming_;
  EventSink* const sink_;
  std::map<NodeId, std::string> own_addresses_;  // constant

  // Owned by the thread.
  SnapshotFetching progress_;
  std::chrono::steady_clock::time_point told_;

  mutable Mutex mu_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<SnapshotFetch> next_ ABSL_GUARDED_BY(mu_);  // takes the place of what is under way
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;

  std::thread thread_;
};

}  // namespace skein
