// How a node is set up: what skeind's flags say, as a struct.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "replication/replica.h"
#include "server/kv_backend.h"
#include "server/logging.h"
#include "storage/options.h"

namespace skein {

struct NodeOptions {
  std::string name;            // `n1`, one of those in `initial_cluster`
  std::string data_directory;  // made if it is not there
  std::string listen = "127.0.0.1:7411";
  std::string advertise;  // where others reach this node; empty: its address in `initial_cluster`
  // All nodes of the cluster, this one included: name and address. For a directory that holds data
  // the names must be those that it was made with; the addresses may have changed.
  std::vector<std::pair<std::string, std::string>> initial_cluster;
  std::string cluster_token = "skein";

  ReplicaOptions replica;
  KvLimits limits;
  StorageOptions storage;
  LogOptions log;
  // Puts are refused while the data directory's file system has less free space, in bytes.
  uint64_t disk_reserve_bytes = 256 << 20;

  // OK, or what is missing or contradicts, and what to do.
  absl::Status Validate() const;
};

// `n1=host:port,n2=host:port`. kInvalidArgument if malformed.
absl::Status ParseCluster(const std::string& text,
                          std::vector<std::pair<std::string, std::string>>* cluster);

}  // namespace skein
