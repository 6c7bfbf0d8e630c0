// Watches a cluster while it is under load: what every node says of the stages of each entry, the
// lag that the leader knows of, and when each follower lets a reader see a write.
//
// The probe writes one key again and again, and asks each follower for it, with consistency ANY,
// from the moment a write begins until a read has returned it. So a write is seen late by at most
// the time between two reads and the time of the read itself.
//
// Threads: Start and Stop from one thread. In between, two threads of its own watch and probe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/bench_lag_join.h"
#include "skein/client.h"

namespace skein::cli {

struct LagNode {
  std::string id;
  std::string address;
};

struct LagWatchOptions {
  std::vector<std::string> endpoints;
  LagNode leader;
  std::vector<LagNode> followers;
  double probes_per_second = 50;
  std::chrono::milliseconds sample_interval{100};
  std::chrono::milliseconds timeout{5000};  // of a probe
};

// The lag that the leader reported of one follower.
struct LagSample {
  uint64_t at_us = 0;
  size_t follower = 0;
  NodeLag lag;
};

struct LagObservations {
  TraceBook leader;
  std::vector<TraceBook> followers;
  std::vector<LagSample> samples;
  std::vector<uint64_t> probe_revisions;
  std::vector<VersionTimeline> timelines;  // by follower
  Histogram probe_read_us;                 // how long a read of the probe took
  uint64_t probe_errors = 0;               // writes and reads that failed
  uint64_t sample_errors = 0;              // nodes that did not answer when asked
  bool leader_changed = false;
};

class LagWatch {
 public:
  explicit LagWatch(const LagWatchOptions& options);
  ~LagWatch();

  void Start();
  // Waits until the followers have applied and shown everything, at most two seconds.
  LagObservations Stop();

 private:
  class Probe;
  class Sampler;

  std::unique_ptr<Probe> probe_;
  std::unique_ptr<Sampler> sampler_;
};

uint64_t MonotonicMicros();

// Whether the times of these nodes and of this process can be compared, found out by one write: it
// must have been appended while it was under way, by this process's clock. An error says which
// node is on another host, or does not answer.
absl::Status CheckOneClock(Client* client, const LagNode& leader,
                           const std::vector<LagNode>& followers);

}  // namespace skein::cli
