// Which node gets a request. Pure: no I/O, no clock, no randomness of its own; not thread-safe.
//
// Reads are spread by the power of two choices: of two random candidates the one with fewer
// requests in flight, where "fewer" must be clearly fewer than on the node that was chosen last,
// so that load does not flap and batches stay large. A node whose lag passes `lag_max_ms` is
// avoided until its lag is below half of that. A node that is catching up is avoided as well.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "client/cluster_view.h"
#include "skein/options.h"

namespace skein::client {

struct RouterOptions {
  int64_t lag_max_ms = 500;
  uint32_t leader_fallback_max = 256;  // in flight on the leader, for reads meant for followers
  // The last choice is kept while its load is at most this much above the other candidate's.
  uint32_t keep_margin = 8;
};

// Slots that a call has tried already; slots from 64 on count as never tried.
class TriedSet {
 public:
  void Add(size_t slot) {
    if (slot < 64) bits_ |= uint64_t{1} << slot;
  }
  bool Has(size_t slot) const { return slot < 64 && ((bits_ >> slot) & 1) != 0; }
  bool empty() const { return bits_ == 0; }
  void Clear() { bits_ = 0; }

 private:
  uint64_t bits_ = 0;
};

class Router {
 public:
  explicit Router(const RouterOptions& options) : options_(options) {}

  // `random` is any number, uniformly drawn. Nullopt: no node that was not tried will do now.
  std::optional<size_t> PickReader(const ClusterView& view, ReadPolicy policy,
                                   const TriedSet& tried, uint64_t random);
  // The leader if it is known and up; else any node that is up, which will say who leads; else
  // any node at all.
  std::optional<size_t> PickWriter(const ClusterView& view, const TriedSet& tried,
                                   uint64_t random) const;

 private:
  bool Lagging(const ClusterView& view, size_t slot);
  size_t ChooseOfTwo(const ClusterView& view, const std::vector<size_t>& candidates,
                     uint64_t random);

  const RouterOptions options_;
  std::vector<bool> lagging_;       // by slot, with hysteresis
  std::optional<size_t> last_;      // the choice before
  std::vector<size_t> candidates_;  // scratch
  std::vector<size_t> laggards_;    // scratch
};

}  // namespace skein::client
