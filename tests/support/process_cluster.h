// A cluster of real skeind processes on free ports of the loopback, in a directory of its own.
//
// Use from the main thread of a test only: the kernel kills a node when the thread that started it
// ends, so that nothing stays behind even if the test crashes.
//
// Invariants:
//  1. When a cluster is destroyed, its processes have ended and its directory is gone.
//  2. If the test has failed by then, the end of every node's log is printed.
//  3. A port belongs to one cluster at a time, on this machine, also while its node is down.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "skein/client.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/temp_dir.h"

namespace skein {

// A port that no other test has, until this object goes away. Not of the range from which the
// kernel takes ports for outgoing connections.
class FreePort {
 public:
  FreePort();
  ~FreePort();
  FreePort(FreePort&& other) noexcept;
  FreePort& operator=(FreePort&&) = delete;

  int number() const { return number_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(number_); }

 private:
  int number_ = 0;
  int reservation_ = -1;
};

// A child process, its output in a file. Killed when this object goes away.
class Process {
 public:
  // Both streams are appended to `output_path`.
  Process(const std::vector<std::string>& command, std::string output_path);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  // Not yet ended, as far as one can see without waiting.
  bool running();
  void Signal(int signal);
  // kill -9, and waits for the end.
  void Kill();
  // The exit code, or minus the number of the signal that ended it; nullopt if it goes on.
  std::optional<int> WaitForEnd(std::chrono::milliseconds timeout);
  std::string Output() const;

 private:
  void Reap(int options);

  const std::string output_path_;
  pid_t pid_ = -1;
  std::optional<int> ended_;
};

struct ProcessClusterOptions {
  int nodes = 3;
  // More nodes, that are not members and not started: they join those above when they are.
  int spares = 0;
  std::vector<std::string> flags;  // for every node, after those that a cluster needs
  // Every node reaches every other one through a link of its own, see proxy(). Clients go directly.
  bool proxied = false;
  bool keep = false;  // the directory stays
};

// Nodes are counted from 0; node 0 is called n1.
class ProcessCluster {
 public:
  explicit ProcessCluster(const ProcessClusterOptions& options = {});
  ~ProcessCluster();
  ProcessCluster(const ProcessCluster&) = delete;
  ProcessCluster& operator=(const ProcessCluster&) = delete;

  int size() const { return static_cast<int>(ports_.size()); }
  static std::string Name(int node) { return "n" + std::to_string(node + 1); }
  std::string Address(int node) const { return ports_[node].address(); }
  std::vector<std::string> Addresses() const;
  std::string DataDirectory(int node) const { return directory_.File(Name(node)); }
  const TempDir& directory() const { return directory_; }
  // What skeind is started with; the last `--flag value` of two wins nothing: skeind refuses it.
  std::vector<std::string> Command(int node) const;
  Process& process(int node) { return *processes_[node]; }
  std::string Log(int node) const;

  // Only if proxied; a link carries what `from` sends to `to`, and `to` answers on its own.
  FaultProxy& proxy() { return *proxy_; }
  int Link(int from, int to) const { return links_[from][to]; }
  // Whether the directory stays when the cluster goes.
  void Keep(bool keep) { directory_.Keep(keep); }

  // For this node alone, after all others, from its next start on; in place of what it had.
  void SetFlags(int node, std::vector<std::string> flags) { own_flags_[node] = std::move(flags); }
  void Start(int node);
  // With an empty directory, as a node that joins those above rather than founding a cluster with
  // them.
  void StartAnew(int node);
  void Kill(int node);
  void Pause(int node);
  void Resume(int node);
  // SIGTERM. The exit code, or nullopt if the node is still there after `timeout`.
  std::optional<int> Terminate(int node, std::chrono::milliseconds timeout);

  // A leader that reaches a quorum, or -1. Nodes that do not answer are passed over.
  int WaitForLeader(std::chrono::milliseconds timeout = std::chrono::seconds(30));
  // True once all of `nodes` have applied `revision`.
  bool WaitForApplied(uint64_t revision, const std::vector<int>& nodes,
                      std::chrono::milliseconds timeout = std::chrono::seconds(60));
  std::vector<int> AllNodes() const;
  std::vector<int> Others(int node) const;
  // nullopt: no answer.
  std::optional<NodeStatus> StatusOf(int node);

  std::unique_ptr<Client> NewClient(const ClientOptions& options = {}) const;

 private:
  const ProcessClusterOptions options_;
  TempDir directory_;
  std::vector<FreePort> ports_;
  std::vector<std::vector<FreePort>> link_ports_;  // by the nodes that dial and are dialled
  std::vector<std::vector<int>> links_;            // the same
  std::unique_ptr<FaultProxy> proxy_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<bool> joins_;
  std::vector<std::vector<std::string>> own_flags_;
  std::unique_ptr<Client> status_client_;
};

// Runs skeind with these flags until it ends, at most `timeout`; for flags that it should refuse.
struct Ended {
  std::optional<int> code;  // nullopt: it did not end, and was killed
  std::string output;
};
Ended RunSkeind(const std::vector<std::string>& flags, const TempDir& directory,
                std::chrono::milliseconds timeout = std::chrono::seconds(30));

std::string SkeindPath();

}  // namespace skein
