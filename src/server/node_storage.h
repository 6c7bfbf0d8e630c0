// What a node finds, or makes, in its data directory when it starts.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/node_options.h"
#include "storage/data_directory.h"
#include "storage/kv_state_machine.h"
#include "storage/rocks_log_store.h"
#include "storage/snapshot_store.h"

namespace skein {

struct NodeStorage {
  // In the order in which they are made.
  std::unique_ptr<DataDirectory> directory;
  std::unique_ptr<RocksLogStore> log;
  std::unique_ptr<KvStateMachine> state;
  std::unique_ptr<SnapshotStore> snapshots;
  LogRecovery recovery;
  // Of the membership that the node was told just now, because it joins; 0: it did not ask.
  Index told;
};

// Opens the directory, or makes it: with the cluster that the options found, or that they say to
// ask for. What is damaged, of another owner or contradicts the options is refused, in words for an
// operator. Blocks.
absl::StatusOr<NodeStorage> OpenNodeStorage(const NodeOptions& options, Logger* logger);

}  // namespace skein
