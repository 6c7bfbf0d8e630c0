// How a node is set up: what skeind's flags say, as a struct.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "replication/replica.h"
#include "server/kv_backend.h"
#include "server/logging.h"
#include "server/snapshot_limits.h"
#include "storage/options.h"

namespace skein {

struct NodeOptions {
  std::string name;            // `n1`
  std::string data_directory;  // made if it is not there
  std::string listen = "127.0.0.1:7411";
  std::string advertise;  // where others reach this node; empty: where its cluster knows it to be

  // A new cluster is founded: all its nodes, this one included, by name and address. Ignored once
  // the log knows better; until then, with a directory that holds data, the names must be those
  // that it was made with, and the addresses count.
  std::vector<std::pair<std::string, std::string>> initial_cluster;
  // Or the cluster that this node has been added to is joined: addresses of some of its nodes.
  // Ignored with a directory that holds data.
  std::vector<std::string> join;
  uint64_t join_wait_ms = 60'000;        // until one of them answers
  uint64_t join_member_wait_ms = 3'000;  // until one that answers knows this node
  // Of the cluster. Empty: that of the data directory, or of the cluster that is joined, or
  // `skein`.
  std::string cluster_token;

  // Where this node reaches other members, by name and address, if not where the cluster does.
  std::vector<std::pair<std::string, std::string>> peer_addresses;

  ReplicaOptions replica;
  KvLimits limits;
  StorageOptions storage;
  SnapshotLimits snapshots;
  LogOptions log;
  // Puts are refused while the data directory's file system has less free space, in bytes.
  uint64_t disk_reserve_bytes = 256 << 20;

  // OK, or what is missing or contradicts, and what to do.
  absl::Status Validate() const;
};

// `n1=host:port,n2=host:port`, given by `flag`. kInvalidArgument if malformed.
absl::Status ParseCluster(const std::string& flag, const std::string& text,
                          std::vector<std::pair<std::string, std::string>>* cluster);
// `host:port,host:port`.
std::vector<std::string> ParseAddresses(const std::string& text);

// kInvalidArgument if it cannot be the name, or the address, of a node. `what` is it for messages.
absl::Status CheckNodeName(const std::string& name);
absl::Status CheckNodeAddress(const std::string& what, const std::string& address);

// Whether others that go to `address` find this node there, as far as the options tell.
bool IsReachedAt(const NodeOptions& options, const std::string& address);

}  // namespace skein
