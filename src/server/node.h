// A whole node: storage, replica, peers, services. What skeind runs, and what a program may run in
// itself.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/node_options.h"

namespace skein {

// Thread-safe. Invariant: once Start has returned a node, it serves until Stop or a fatal error.
class Node {
 public:
  // Opens the data directory, recovers, listens, and joins its peers. kInvalidArgument and
  // kFailedPrecondition: the set-up is wrong, the message says what to do. The logger outlives the
  // node.
  static absl::StatusOr<std::unique_ptr<Node>> Start(const NodeOptions& options, Logger* logger);
  ~Node();

  // Waits until Stop is called or the node cannot go on, and says why: OK after Stop.
  absl::Status WaitUntilStopped();
  // Makes WaitUntilStopped return. Thread-safe.
  void RequestStop();
  // Ends all calls, writes what is in memory to the disk, releases the directory. Idempotent.
  void Stop();

  // Where this node listens; with the port that was chosen, if it was asked for port 0.
  const std::string& address() const;

 private:
  class Impl;
  explicit Node(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace skein
