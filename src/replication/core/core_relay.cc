// Entries that reach a learner by another member than the leader (R36): the leader decides who
// feeds whom, the upstream sends what is committed, the learner takes it.
#include <algorithm>
#include <utility>

#include "common/planted_bug.h"
#include "replication/core/core.h"

namespace skein {
namespace {

// A feeder that brings a learner no further for so many election timeouts is passed over, for so
// many times as long, doubled each time up to a limit.
constexpr uint64_t kPatienceTimeouts = 2;
constexpr uint64_t kDetourFactor = 5;
constexpr uint32_t kDoublingsMax = 4;

}  // namespace

// Leader.

void Core::ChooseFeeders() {
  for (auto& [id, progress] : progress_) {
    const NodeId feeder = FeederOf(id, progress);
    if (feeder == progress.fed_by) continue;
    Notice(NameOf(id) + " is fed by " + NameOf(feeder == NodeId() ? self_ : feeder) + " now");
    progress.FeedBy(feeder);
  }
}

// Its upstream; else the one who stands in, or another voter, the one that feeds fewest. 0: this
// leader, because the member has no upstream, must be asked where it stands, or nobody else can.
NodeId Core::FeederOf(NodeId id, const Progress& progress) const {
  const Member* member = membership().Find(id);
  const bool wanted = member != nullptr && !member->voter && member->upstream != NodeId() &&
                      member->upstream != self_;
  const bool able = progress.link_up && progress.mode != Progress::Mode::kSnapshot &&
                    VersionOf(id) >= kUpstreamsVersion;
  if (!wanted || !able || NeedsSnapshot(id, progress)) return NodeId();
  if (MayFeed(member->upstream, progress)) return member->upstream;
  const auto stands_in = [&](NodeId node) {
    return node != NodeId() && membership().IsVoter(node) && MayFeed(node, progress);
  };
  if (stands_in(progress.fed_by)) return progress.fed_by;
  std::map<NodeId, size_t> feeds;
  for (const auto& [other, fed] : progress_) ++feeds[fed.fed_by];
  NodeId best;
  for (const auto& [other, unused] : progress_) {
    if (stands_in(other) && (best == NodeId() || feeds[other] < feeds[best])) best = other;
  }
  return best;
}

// As far as it says: the leader must ask more exactly, and see to it.
bool Core::NeedsSnapshot(NodeId id, const Progress& progress) const {
  return progress.stated && *progress.stated < std::max(LogGoesOnAfter(), AddedAgainAt(id));
}

bool Core::MayFeed(NodeId feeder, const Progress& learner) const {
  const auto it = progress_.find(feeder);
  if (it == progress_.end() || VersionOf(feeder) < kUpstreamsVersion) return false;
  const Progress& progress = it->second;
  const auto detour = learner.detours.find(feeder);
  if (detour != learner.detours.end() && now_ticks_ < detour->second.until_ticks) return false;
  // Who feeds already may look behind: it is heard of no sooner than the learner.
  const bool behind = feeder != learner.fed_by && progress.match < learner.match;
  return progress.link_up && !behind && progress.mode != Progress::Mode::kSnapshot &&
         progress.ticks_since_heard < options_.election_ticks_max;
}

std::vector<Feed> Core::FeedsOf(NodeId feeder) const {
  std::vector<Feed> feeds;
  for (const auto& [id, progress] : progress_) {
    if (progress.fed_by == feeder && progress.stated) feeds.push_back({id, *progress.stated});
  }
  return feeds;
}

// Whatever the reason, a cut between the two, a trimmed log, an upstream that hangs: what counts is
// that the learner, which is heard, does not come closer to what is committed.
void Core::FeedingTick(NodeId id, Progress* progress) {
  const bool heard = progress->ticks_since_heard < options_.election_ticks_max;
  const bool level = progress->stated.value_or(Index()) >= log_.commit();
  if (progress->fed_by == NodeId() || !heard || level) {
    progress->ticks_stuck = 0;
    return;
  }
  const uint64_t patience = kPatienceTimeouts * options_.election_ticks_max;
  if (++progress->ticks_stuck < patience) return;
  Progress::Detour& detour = progress->detours[progress->fed_by];
  const uint64_t ticks = (kDetourFactor * patience) << std::min(detour.times++, kDoublingsMax);
  detour.until_ticks = now_ticks_ + ticks;
  Notice(NameOf(id) + " does not get on with " + NameOf(progress->fed_by) +
         ", which is passed over for " + std::to_string(ticks * options_.tick_ms) + " ms");
  progress->ticks_stuck = 0;
}

// Upstream.

// Whom the leader lists is fed, as long as it does so, in this term.
void Core::TakeFeeds(const HeartbeatMessage& heartbeat) {
  if (heartbeat.round <= feeds_round_) return;  // an older list
  feeds_round_ = heartbeat.round;
  std::erase_if(progress_, [&](const auto& fed) {
    return std::none_of(heartbeat.feeds.begin(), heartbeat.feeds.end(),
                        [&](const Feed& feed) { return feed.learner == fed.first; });
  });
  for (const Feed& feed : heartbeat.feeds) {
    if (VersionOf(feed.learner) < kUpstreamsVersion) continue;
    const auto [it, fresh] = progress_.try_emplace(feed.learner, Progress(feed.after.Next()));
    if (fresh) it->second.link_up = LinkIsUp(feed.learner);
    if (fresh || feed.after > it->second.match) it->second.OnMatch(feed.after);
  }
}

void Core::UpstreamTick() {
  for (auto& [id, progress] : progress_) {
    ++progress.ticks_since_progress;
    if (progress.has_in_flight() && progress.ticks_since_progress >= options_.election_ticks_min) {
      progress.ProbeAgain();
    }
  }
}

// R36: a leader sends what it has; an upstream what is certain to stay.
Index Core::SendLimit() const {
  if (role_ == Role::kLeader || SKEIN_PLANTED("relays-uncommitted")) return log_.last_index();
  return std::min(log_.commit(), log_.durable());
}

}  // namespace skein
