#include "client/router.h"

namespace skein::client {

std::optional<size_t> Router::PickReader(const ClusterView& view, ReadPolicy policy,
                                         const TriedSet& tried, uint64_t random) {
  const std::optional<size_t> leader = view.Leader();
  candidates_.clear();
  laggards_.clear();
  std::optional<size_t> down;
  for (size_t i = 0; i < view.size(); ++i) {
    if (!view.Usable(i) || tried.Has(i)) continue;
    if (!view.node(i).up) {
      down = i;
      continue;
    }
    if (leader == i && policy == ReadPolicy::kFollowers) continue;
    if (leader.has_value() && leader != i && policy == ReadPolicy::kLeader) continue;
    (Lagging(view, i) ? laggards_ : candidates_).push_back(i);
  }
  if (!candidates_.empty()) return ChooseOfTwo(view, candidates_, random);
  const bool leader_up =
      leader.has_value() && view.node(*leader).up && !tried.Has(*leader) && view.Usable(*leader);
  if (policy == ReadPolicy::kFollowers && leader_up &&
      view.node(*leader).in_flight < options_.leader_fallback_max) {
    return leader;
  }
  if (!laggards_.empty()) return ChooseOfTwo(view, laggards_, random);
  if (policy == ReadPolicy::kFollowers && leader_up) return std::nullopt;  // the cap protects it
  return down;
}

std::optional<size_t> Router::PickWriter(const ClusterView& view, const TriedSet& tried,
                                         uint64_t random) const {
  const std::optional<size_t> leader = view.Leader();
  if (leader.has_value() && view.Usable(*leader) && view.node(*leader).up && !tried.Has(*leader)) {
    return leader;
  }
  const size_t count = view.size();
  std::optional<size_t> down;
  for (size_t k = 0; k < count; ++k) {
    const size_t i = (random + k) % count;
    if (!view.Usable(i) || tried.Has(i)) continue;
    if (view.node(i).up) return i;
    if (!down.has_value()) down = i;
  }
  return down;
}

bool Router::Lagging(const ClusterView& view, size_t slot) {
  if (lagging_.size() < view.size()) lagging_.resize(view.size(), false);
  const NodeBelief& node = view.node(slot);
  // A new node has everything to learn: it is not taken for level until somebody says so.
  if (node.catching_up || (!node.voter && !node.lag_ms.has_value())) return true;
  const int64_t lag = node.lag_ms.value_or(0);
  if (lagging_[slot]) {
    lagging_[slot] = lag >= options_.lag_max_ms / 2;
  } else {
    lagging_[slot] = lag > options_.lag_max_ms;
  }
  return lagging_[slot];
}

size_t Router::ChooseOfTwo(const ClusterView& view, const std::vector<size_t>& candidates,
                           uint64_t random) {
  const size_t count = candidates.size();
  const size_t first = random % count;
  size_t second = first;
  if (count > 1) second = (first + 1 + (random >> 32) % (count - 1)) % count;
  size_t keep = candidates[first];
  size_t other = candidates[second];
  if (last_ == other) std::swap(keep, other);
  const uint32_t margin = last_ == keep ? options_.keep_margin : 0;
  const size_t chosen =
      view.node(keep).in_flight > view.node(other).in_flight + margin ? other : keep;
  last_ = chosen;
  return chosen;
}

}  // namespace skein::client
