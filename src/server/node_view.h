// What any thread of a node may know of it without asking the event loop.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/mutex.h"
#include "replication/core/ready.h"

namespace skein {

// Published by the loop's thread, read by every other. Thread-safe.
class NodeView {
 public:
  struct Leadership {
    Role role = Role::kFollower;
    Term term;
    std::string leader_name;     // empty: unknown
    std::string leader_address;  // that clients are told; empty: unknown
    std::string reached_at;      // by this node, as its peer addresses say
    bool has_quorum = false;     // enough voters can be reached from here

    friend bool operator==(const Leadership&, const Leadership&) = default;
  };

  NodeView(std::string node_name, const Clock* clock)
      : node_name_(std::move(node_name)),
        clock_(clock),
        leadership_(std::make_shared<const Leadership>()) {}

  const std::string& node_name() const { return node_name_; }

  void SetLeadership(Leadership leadership) {
    if (*leadership_ == leadership) return;  // only the loop's thread writes
    auto next = std::make_shared<const Leadership>(std::move(leadership));
    MutexLock lock(&mu_);
    leadership_ = std::move(next);
  }
  std::shared_ptr<const Leadership> leadership() const {
    MutexLock lock(&mu_);
    return leadership_;
  }

  void SetFreshStamp(uint64_t stamp_us) { fresh_stamp_us_.store(stamp_us); }
  // R16: how old this follower's state is at most, in milliseconds; -1: not proven.
  int64_t StalenessMillis() const {
    const uint64_t stamp_us = fresh_stamp_us_.load();
    if (stamp_us == 0) return -1;
    return static_cast<int64_t>((clock_->MonotonicMicros() - stamp_us) / 1000);
  }

 private:
  const std::string node_name_;
  const Clock* const clock_;
  std::atomic<uint64_t> fresh_stamp_us_{0};
  mutable Mutex mu_;
  std::shared_ptr<const Leadership> leadership_;
};

}  // namespace skein
