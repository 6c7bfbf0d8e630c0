// A node's data directory: whose it is, that only one process uses it, and which directories its
// peers have shown (R26, R27).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/types.h"

namespace skein {

// What a data directory says about itself; fixed when it is created, but for the history.
struct Identity {
  uint64_t cluster_id = 0;    // derived from token and history, see ClusterIdOf
  std::string cluster_token;  // the name of the cluster, chosen by the operator
  // Random, and another one since a majority was lost and the cluster recovered without it (R35);
  // 0: that has never been.
  uint64_t history = 0;
  NodeId node_id;  // derived from the name, see NodeIdOf
  std::string node_name;
  uint64_t incarnation = 0;  // random: another directory of the same node has another one
  // The history has begun, but the log does not say so yet: no node may start.
  bool recovery_unfinished = false;

  friend bool operator==(const Identity&, const Identity&) = default;
};

// Never 0. One token with two histories has two ids, whose difference (^) is that of the histories.
uint64_t ClusterIdOf(const std::string& cluster_token, uint64_t history = 0);
// A history for this cluster that nobody has.
uint64_t NewHistoryOf(const std::string& cluster_token);

// Thread-safe. Holds the directory's lock as long as it lives.
class DataDirectory {
 public:
  // Opens the directory, or creates it (its parent must exist) for this node of this cluster, with
  // this history. Refuses, naming both sides: a directory that another process uses, of another
  // node or cluster, of a newer format, damaged, whose recovery was not finished, or that cannot be
  // written.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> Open(const std::string& path,
                                                             const std::string& cluster_token,
                                                             const std::string& node_name,
                                                             uint64_t history = 0);
  // Opens one that was made before, whosever it is; also if its recovery was not finished.
  static absl::StatusOr<std::unique_ptr<DataDirectory>> OpenExisting(const std::string& path);
  // What a directory that was made before says about itself; nullopt: there is none, or nothing in
  // it says so. Does not lock it.
  static absl::StatusOr<std::optional<Identity>> Peek(const std::string& path);
  ~DataDirectory();
  DataDirectory(const DataDirectory&) = delete;
  DataDirectory& operator=(const DataDirectory&) = delete;

  const std::string& path() const { return path_; }
  const Identity& identity() const { return identity_; }

  // The two ends of a recovery, each durable when it returns: between them no node starts here.
  // Before anybody else uses this object.
  absl::Status BeginHistory(uint64_t history);
  absl::Status FinishHistory();

  // Remembers, durably, the incarnation in which a peer is seen for the first time; refuses every
  // other one from then on.
  absl::Status CheckPeer(NodeId peer, uint64_t incarnation);
  // Forgets what the others have shown. Never blocks: it is on the disk with the next SavePeers, or
  // the next peer that is seen for the first time.
  void ForgetPeersExcept(std::set<NodeId> kept);
  // Does nothing if nothing was forgotten.
  absl::Status SavePeers();

 private:
  DataDirectory(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}

  absl::Status RemoveLeftovers() const;
  static absl::StatusOr<std::unique_ptr<DataDirectory>> LockAndClean(const std::string& path);
  absl::Status LoadIdentity(const std::string& cluster_token, const std::string& node_name,
                            uint64_t history);
  absl::Status CreateIdentity(const std::string& cluster_token, const std::string& node_name,
                              uint64_t history);
  absl::Status WriteIdentity(const Identity& identity);
  absl::Status LoadPeers();
  void ForgetPeers() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WritePeers(const std::map<NodeId, uint64_t>& peers)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string path_;
  const int lock_fd_;
  Identity identity_;  // constant once others use this object

  Mutex mu_;
  // Held while the file is written.
  std::map<NodeId, uint64_t> peers_ ABSL_GUARDED_BY(mu_);
  bool peers_unsaved_ ABSL_GUARDED_BY(mu_) = false;

  Mutex kept_mu_;
  std::optional<std::set<NodeId>> kept_ ABSL_GUARDED_BY(kept_mu_);  // the rest is to be forgotten
};

}  // namespace skein
