// An EventSink that keeps what a transport posts to one process of a node.
#pragma once

#include <map>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "replication/log_store.h"
#include "tests/contract/test_messages.h"

namespace skein {

// Thread-safe.
class TransportLog final : public EventSink {
 public:
  void Post(Event event) override ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    if (auto* received = std::get_if<Received>(&event)) {
      ++arrivals_[SerialOf(received->message)];
      received_.push_back(std::move(received->message));
      return;
    }
    if (const auto* up = std::get_if<LinkUp>(&event)) {
      State& state = states_[up->peer];
      state = {state.ups + 1, true};
    } else if (const auto* down = std::get_if<LinkDown>(&event)) {
      states_[down->peer].up = false;
    }
    links_.push_back(std::move(event));
  }

  std::vector<Message> received() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return received_;
  }
  // Everything else, in order.
  std::vector<Event> links() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return links_;
  }
  size_t posted() const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return received_.size() + links_.size();
  }
  bool Has(uint64_t serial) const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return arrivals_.contains(serial);
  }
  // Of messages with this serial or a later one.
  bool HasSince(uint64_t serial) const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    return arrivals_.lower_bound(serial) != arrivals_.end();
  }
  // How often the link has come up, if it is up; else 0.
  size_t Standing(NodeId peer) const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    const auto it = states_.find(peer);
    return it != states_.end() && it->second.up ? it->second.ups : 0;
  }
  // Every LinkDown of the peer.
  std::vector<LinkDown> Downs(NodeId peer) const ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    std::vector<LinkDown> downs;
    for (const Event& event : links_) {
      const auto* down = std::get_if<LinkDown>(&event);
      if (down != nullptr && down->peer == peer) downs.push_back(*down);
    }
    return downs;
  }

 private:
  struct State {
    size_t ups = 0;
    bool up = false;
  };

  mutable Mutex mu_;
  std::vector<Message> received_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, size_t> arrivals_ ABSL_GUARDED_BY(mu_);  // by serial
  std::vector<Event> links_ ABSL_GUARDED_BY(mu_);
  std::map<NodeId, State> states_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
