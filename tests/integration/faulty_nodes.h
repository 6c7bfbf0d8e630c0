// Nodes in this process, each on a disk of its own with all faults: real gRPC, real RocksDB.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "common/error.h"
#include "tests/server/node_fixture.h"
#include "tests/support/storage_faulty_fs.h"

namespace skein {

// The disk's reserve is off unless `reserve_bytes` says otherwise; the stall limit is 0.8 s.
class FaultyNodes {
 public:
  explicit FaultyNodes(int count, uint64_t reserve_bytes = 0)
      : disks_(count), nodes_(count, {}, [this, reserve_bytes](int node, NodeOptions* options) {
          if (disks_[node].fs == nullptr) NewDisk(node);
          options->storage.env = disks_[node].envs.back().get();
          options->disk_reserve_bytes = reserve_bytes;
          options->replica.core.stall_ticks = 80;
        }) {}

  LocalNodes& nodes() { return nodes_; }
  FaultyFs& disk(int node) { return *disks_[node].fs; }
  std::string Directory(int node) const { return nodes_.Options(node).data_directory; }

  // After a crash of the disk, or a failure: starts the node over what is left.
  void Restart(int node) {
    nodes_.Stop(node);
    disks_[node].fs->Kill();
    NewDisk(node);
    nodes_.Start(node);
  }
  // Why the node stops by itself; fails the test if it does not.
  absl::Status AwaitStop(int node) {
    auto reason = std::async(std::launch::async,
                             [this, node] { return nodes_.node(node).WaitUntilStopped(); });
    if (reason.wait_for(std::chrono::seconds(20)) != std::future_status::ready) {
      ADD_FAILURE() << LocalNodes::Name(node) << " goes on";
      nodes_.node(node).RequestStop();
    }
    return reason.get();
  }
  v1::StatusResponse StatusOf(int node) {
    v1::StatusResponse status;
    EXPECT_TRUE(nodes_.raw(node).Status(&status).ok()) << LocalNodes::Name(node);
    return status;
  }
  // A leader with a quorum among `candidates`, or -1.
  int AwaitLeaderAmong(const std::vector<int>& candidates) {
    int leader = -1;
    WaitUntil(std::chrono::seconds(20), [&] {
      for (const int node : candidates) {
        const v1::StatusResponse status = StatusOf(node);
        if (status.role() == v1::ROLE_LEADER && status.has_quorum()) leader = node;
      }
      return leader >= 0;
    });
    return leader;
  }

 private:
  // Former file systems stay: a database may still hold on to its environment.
  struct Disk {
    std::shared_ptr<FaultyFs> fs;
    std::vector<std::unique_ptr<rocksdb::Env>> envs;
  };
  void NewDisk(int node) {
    disks_[node].fs = std::make_shared<FaultyFs>();
    disks_[node].envs.push_back(NewEnvOver(disks_[node].fs));
  }

  std::vector<Disk> disks_;
  LocalNodes nodes_;
};

}  // namespace skein
