// What a call does next after something has happened to it: the rules of retrying. Pure: no I/O,
// no clock, no randomness of its own. One small object per call.
//
// Invariants.
//  1. A write is retried only after an outcome that proves that it was not appended.
//  2. Nothing is retried at or after the deadline, and no delay reaches beyond it.
//  3. Two retries in a row without delay never go to the same node.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/router.h"
#include "common/error.h"

namespace skein::client {

enum class CallKind : uint8_t { kRead, kWrite };

enum class Happened : uint8_t {
  kNotSent,   // the node could not be reached; the request was never handed to the wire
  kBroken,    // the connection broke after the request was handed to the wire
  kSlow,      // a read was not answered within its attempt's time
  kRefused,   // the node answered with an error
  kDeadline,  // the call's deadline has passed
  kShutdown,  // the client is being destroyed
};

struct Outcome {
  Happened happened = Happened::kNotSent;
  bool sent = false;    // kDeadline, kShutdown: the current attempt was handed to the wire
  absl::Status error;   // kRefused: the answer; kNotSent, kBroken: what the connection said
  std::string address;  // of the node, for messages; empty: none was chosen yet
  std::optional<size_t> slot;
};

// What the client believes at that moment.
struct Circumstances {
  uint64_t now_us = 0;
  uint64_t random = 0;                  // uniformly drawn, for jitter
  bool untried_node_left = false;       // a read has a node to go to that it has not tried
  bool another_leader_claimed = false;  // see ClusterView::AnotherLeaderClaimed
  std::optional<size_t> leader;         // believed in, after the answer's hint was taken in
  bool leader_up = false;
  bool any_node_up = true;
};

struct NextStep {
  bool give_up = false;
  absl::Status status;    // give_up: what the caller is told
  uint64_t delay_us = 0;  // else: try again after this long
  bool refresh = false;   // ask the nodes who leads and who lives
};

class CallPlan {
 public:
  CallPlan() = default;
  CallPlan(CallKind kind, uint64_t start_us, uint64_t deadline_us, uint64_t patience_us)
      : start_us_(start_us), deadline_us_(deadline_us), patience_us_(patience_us), kind_(kind) {}

  NextStep After(const Outcome& outcome, const Circumstances& now);

  // How long an attempt that begins now may take, after `earlier` others, before another node is
  // asked: the first one at most half of the time that there is. Each further one may take twice as
  // long as the one before, so that a slow network is not taken for a dead one for ever.
  uint64_t AttemptMicros(uint64_t usual_us, uint32_t earlier, uint64_t now_us) const;

  CallKind kind() const { return kind_; }
  uint64_t deadline_us() const { return deadline_us_; }
  const TriedSet& tried() const { return tried_; }

 private:
  NextStep AfterRead(const Outcome& outcome, const Circumstances& now);
  NextStep AfterReadRefused(const Outcome& outcome, const Circumstances& now);
  NextStep AfterWrite(const Outcome& outcome, const Circumstances& now);
  NextStep AfterWriteRefused(const Outcome& outcome, const Circumstances& now);
  NextStep AfterDeadline(const Outcome& outcome) const;
  NextStep AnotherNode(const Outcome& outcome, const Circumstances& now);
  NextStep Later(const Circumstances& now, uint64_t least_us, uint64_t most_us);
  bool OutOfPatience(const Circumstances& now) const;

  uint64_t start_us_ = 0;
  uint64_t deadline_us_ = 0;
  uint64_t patience_us_ = 0;  // with no node up, give up this long after the start
  TriedSet tried_;            // by a read, since it last started over
  CallKind kind_ = CallKind::kRead;
  std::optional<size_t> followed_;  // the leader to which a write was last redirected at once
  absl::Status last_error_;         // OK until something failed
};

// Certainly without effect, or a read: the deadline passed.
absl::Status DeadlineError(const std::string& message);
// The command was handed to the wire, and its fate is not known.
absl::Status OutcomeUnknownError(const std::string& message);

}  // namespace skein::client
