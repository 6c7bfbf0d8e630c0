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

  // Waits until RequestStop or Stop is called or the node cannot go on, and says why: OK if it
  // could.
  absl::Status WaitUntilStopped();
  // Makes WaitUntilStopped return.
  void RequestStop();
  // A node that is well hands leadership over, answers who was taken in, and sends others
  // elsewhere; each for about an election timeout at most. Then ends all calls, writes what is in
  // memory to the disk, releases the directory. Waits for the disk, however long that takes.
  // Idempotent.
  void Stop();
  // Stop waits for no other node and no caller.
  void Hurry();

  // Where this node listens; with the port that was chosen, if it was asked for port 0.
  const std::string& address() const;

 private:
  class Impl;
  explicit Node(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace skein
