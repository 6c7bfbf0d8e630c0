// Hands out snapshots of this node's state to members that are told to fetch one (R20, R21): a few
// at a time, at a limited rate, each on a thread of its own.
//
// A snapshot that a receiver did not get whole is kept for a while, so that it can go on.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "replication/grpc/hello.h"
#include "server/snapshot_limits.h"
#include "server/snapshot_pace.h"
#include "skein/v1/replication.grpc.pb.h"
#include "storage/snapshot_store.h"

namespace skein {

// Thread-safe.
class SnapshotService final : public v1::Snapshots::CallbackService {
 public:
  // All outlive it. `state` is what the store makes snapshots of. `notice` as for the peers.
  SnapshotService(const SnapshotLimits& limits, SnapshotStore* store, const KvStateMachine* state,
                  const HelloGate* gate, PeerNotice notice);
  ~SnapshotService() override;

  grpc::ServerBidiReactor<v1::FetchRequest, v1::FetchResponse>* Fetch(
      grpc::CallbackServerContext* context) override;

  // To be called about twice a second. Lets go of what nobody has come back for.
  void KeepHouse() ABSL_LOCKS_EXCLUDED(mu_);
  // Ends all streams; waits for them.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

 private:
  class Stream;

  // Kept until it is whole at its receiver, or this time.
  struct Kept {
    std::shared_ptr<const Snapshot> snapshot;
    std::chrono::steady_clock::time_point until;
  };

  // The request has come: starts or refuses.
  void OnRequest(const v1::FetchRequest& request, Stream* stream);
  absl::Status Begin(const std::string& receiver, Stream* stream) ABSL_LOCKS_EXCLUDED(mu_);
  void Keep(std::shared_ptr<const Snapshot> snapshot) ABSL_LOCKS_EXCLUDED(mu_);
  void Release(Stream* stream) ABSL_LOCKS_EXCLUDED(mu_);

  const SnapshotLimits limits_;
  SnapshotStore* const store_;
  const HelloGate* const gate_;
  const PeerNotice notice_;
  SnapshotPace pace_;

  Mutex mu_;
  CondVar gone_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::set<Stream*> streams_ ABSL_GUARDED_BY(mu_);               // all, also those that are refused
  std::map<std::string, Stream*> sending_ ABSL_GUARDED_BY(mu_);  // by receiver, the newest of each
  Kept kept_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
