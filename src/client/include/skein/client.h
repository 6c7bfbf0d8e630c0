// The client of a Skein cluster.
//
//   auto client = skein::Client::Connect({"127.0.0.1:7411", "127.0.0.1:7412"});
//   skein::PutResult put = client->Put("user:1", "Ada").value();
//   std::optional<skein::KeyValue> got = client->Get("user:1").value();
//
// Threads. Every function may be called from any thread at any time; one object serves thousands
// of callers, and batches what they ask for on one stream per node. Callbacks run on the client's
// own thread, one at a time: they may call the asynchronous functions, must not block, and get
// FAILED_PRECONDITION from the blocking ones.
//
// Invariants.
//  1. A callback is called exactly once, at the latest shortly after the deadline of its call.
//  2. A write is sent a second time only if its first sending was certainly without effect.
//     Otherwise the caller hears UNKNOWN with reason kOutcomeUnknown: it may have been applied.
//  3. token() never goes back, and a kOwnWrites read sees everything up to the token that stood
//     when it was called. But after the loss of a majority for ever, of which revisions are lost,
//     the cluster has a new history: the token begins at 0 again as soon as a node tells of it.
//  4. The destructor completes all pending calls, with CANCELLED or as invariant 2 demands, and
//     then waits for the last callback to return. It must not run inside a callback.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "skein/error.h"
#include "skein/membership.h"
#include "skein/options.h"
#include "skein/results.h"

namespace skein {

namespace client {
class Dispatcher;
class ChannelPool;
}  // namespace client

class Client {
 public:
  template <typename Result>
  using Callback = absl::AnyInvocable<void(absl::StatusOr<Result>)>;

  // `endpoints` ("host:port") is any non-empty subset of the nodes; the others are discovered.
  // Does not wait for a connection: a cluster that is down shows as an error of the calls.
  static std::unique_ptr<Client> Connect(const std::vector<std::string>& endpoints,
                                         const ClientOptions& options = {});
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  absl::StatusOr<GetResult> Get(std::string_view key, const ReadOptions& options = {});
  absl::StatusOr<BatchGetResult> BatchGet(const std::vector<std::string>& keys,
                                          const ReadOptions& options = {});
  absl::StatusOr<PutResult> Put(std::string_view key, std::string_view value,
                                const WriteOptions& options = {});
  absl::StatusOr<DeleteResult> Delete(std::string_view key, const WriteOptions& options = {});

  // The arguments need not outlive the call.
  void GetAsync(std::string_view key, const ReadOptions& options, Callback<GetResult> done);
  void BatchGetAsync(const std::vector<std::string>& keys, const ReadOptions& options,
                     Callback<BatchGetResult> done);
  void PutAsync(std::string_view key, std::string_view value, const WriteOptions& options,
                Callback<PutResult> done);
  void DeleteAsync(std::string_view key, const WriteOptions& options, Callback<DeleteResult> done);

  // Items of a range in bytewise order, all from one snapshot of one node. `visit` is called on
  // the calling thread for each item and returns false to stop. The result has no items, only how
  // many were visited. The deadline bounds the wait for each message, not the whole scan. A node
  // that fails before the first item is replaced by another; after it, the scan ends in an error.
  absl::StatusOr<ScanResult> Scan(const ScanOptions& options,
                                  const std::function<bool(KeyValue)>& visit);
  // The same, collected.
  absl::StatusOr<ScanResult> Scan(const ScanOptions& options);
  // Only how many keys the range has.
  absl::StatusOr<uint64_t> Count(const ScanOptions& options);

  // Asks every node, in parallel, and waits at most `timeout` for each. An error only if no node
  // answered; a node that did not is in the result as unreachable.
  absl::StatusOr<ClusterStatus> Status(
      std::chrono::milliseconds timeout = std::chrono::milliseconds(500));

  // The stages that recent log entries went through on the node at `address`, of entries whose
  // last revision is above `after_revision`.
  absl::StatusOr<NodeTrace> Trace(
      const std::string& address, uint64_t after_revision,
      std::chrono::milliseconds timeout = std::chrono::milliseconds(500));

  // Who belongs to the cluster, as the leader knows; if none can be asked, as some node knows.
  absl::StatusOr<ClusterMembers> Members(
      std::chrono::milliseconds deadline = std::chrono::milliseconds(0));

  // Changes of who belongs to the cluster, one at a time; answered when the change is committed,
  // with the members after it. As with writes, an error is certainly without effect unless its
  // detail says `maybe_applied`: then ask Members(). The cluster may refuse: NOT_FOUND, there is no
  // such member; ALREADY_EXISTS, it is so already, or the name or address is taken;
  // FAILED_PRECONDITION, not now, and why. A zero deadline means the client's own.
  //
  // A new member is a learner: it receives everything, serves reads, and counts for no quorum.
  absl::StatusOr<ClusterMembers> AddMember(const std::string& id, const std::string& address,
                                           const AddMemberOptions& options = {});
  // The learner becomes a voter. Refused while it is behind.
  absl::StatusOr<ClusterMembers> PromoteMember(
      const std::string& id, std::chrono::milliseconds deadline = std::chrono::milliseconds(0));
  absl::StatusOr<ClusterMembers> RemoveMember(const std::string& id,
                                              const RemoveMemberOptions& options = {});
  // The member is found at another address from now on.
  absl::StatusOr<ClusterMembers> MoveMember(
      const std::string& id, const std::string& address,
      std::chrono::milliseconds deadline = std::chrono::milliseconds(0));

  // The member takes what need not come from the leader from another one; empty: from none.
  absl::StatusOr<ClusterMembers> SetUpstream(
      const std::string& id, const std::string& upstream_id,
      std::chrono::milliseconds deadline = std::chrono::milliseconds(0));

  // Hands leadership over to the voter `target`, or to the most advanced one if it is empty.
  // ALREADY_EXISTS: it leads already; DEADLINE_EXCEEDED: it did not take over in time, and the old
  // leader goes on.
  absl::StatusOr<LeadershipTransfer> TransferLeadership(
      const std::string& target = "",
      std::chrono::milliseconds deadline = std::chrono::milliseconds(0));

  // The highest revision that this client has seen. Another client that is given it reads
  // everything that this one has read or written.
  uint64_t token() const;
  // Raises the token; a lower one has no effect. One from before the loss of a majority makes reads
  // wait for revisions that are lost.
  void SetToken(uint64_t revision);

  // The address of the node that is believed to lead; empty: unknown.
  std::string leader_address();

 private:
  Client(const std::vector<std::string>& endpoints, const ClientOptions& options);

  std::shared_ptr<client::ChannelPool> channels_;
  std::unique_ptr<client::Dispatcher> dispatcher_;
};

}  // namespace skein
