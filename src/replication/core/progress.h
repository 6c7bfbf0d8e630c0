// What a leader knows of one other member, or an upstream of a learner, and how fast it may feed it
// (R18).
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <utility>

#include "replication/core/message.h"

namespace skein {

struct Progress {
  enum class Mode : uint8_t {
    kProbe,      // where the logs agree is not known: one append at a time
    kReplicate,  // appends are streamed, up to a window in bytes
    kSnapshot,   // what it needs is trimmed: it fetches a snapshot meanwhile
  };

  // Of a member in kSnapshot, as it was told last.
  struct Snapshot {
    NodeId source;
    SnapshotReport report;
    Index at_least;  // as it was offered
    uint64_t ticks_silent = 0;
  };

  // A feeder that did not bring this learner on.
  struct Detour {
    uint64_t until_ticks = 0;
    uint32_t times = 0;
  };

  explicit Progress(Index next_index) : next(next_index) {}

  Mode mode = Mode::kProbe;
  Index match;    // durable there, and equal to the leader's log
  Index next;     // first entry to send
  Index applied;  // as it said last
  Index commit_sent;
  bool probe_sent = false;
  bool link_up = true;
  uint64_t ticks_since_heard = 0;
  uint64_t ticks_since_progress = 0;
  uint64_t acked_round = 0;  // of heartbeats
  Snapshot snapshot;
  // Until it is level again after a snapshot, the log is kept for it from here on (R20); 0: it is.
  Index pin;
  NodeId failed_source;   // of its last snapshot; another one is tried first
  uint64_t log_read = 0;  // the LogRead whose entries are for this member; 0: none under way
  Index log_read_to;      // what it reads above this may have been replaced since

  // R36, leader only: who feeds this learner in the leader's place; 0: the leader does.
  NodeId fed_by;
  std::optional<Index>
      stated;                // how far it was by its own last word; nullopt: no word on this link
  uint64_t ticks_stuck = 0;  // fed by another, and not come closer to what is committed
  std::map<NodeId, Detour> detours;

  // R16: whether a stamp of it waits for a heartbeat round, and the newest that was proven.
  bool stamp_waiting = false;
  uint64_t fresh_stamp_us = 0;
  Index fresh_index;

  bool MaySend(uint64_t window_bytes_max) const {
    if (!link_up || log_read != 0 || mode == Mode::kSnapshot || fed_by != NodeId()) return false;
    return mode == Mode::kProbe ? !probe_sent : in_flight_bytes_ < window_bytes_max;
  }

  // Entries up to `last` were sent.
  void OnSent(Index last, uint64_t bytes) {
    if (mode == Mode::kProbe) {
      probe_sent = true;
      return;
    }
    next = last.Next();
    if (bytes == 0) return;
    if (in_flight_.empty()) ticks_since_progress = 0;
    in_flight_.emplace_back(last, bytes);
    in_flight_bytes_ += bytes;
  }

  // An acknowledgement: streams from here on.
  void OnMatch(Index index) {
    ticks_since_progress = 0;
    match = std::max(match, index);
    while (!in_flight_.empty() && in_flight_.front().first <= match) {
      in_flight_bytes_ -= in_flight_.front().second;
      in_flight_.pop_front();
    }
    if (mode == Mode::kProbe) {
      mode = Mode::kReplicate;
      next = match.Next();
    }
    if (mode == Mode::kSnapshot && match >= snapshot.at_least) mode = Mode::kReplicate;
    next = std::max(next, match.Next());
    probe_sent = false;
  }

  // By its own word it has the log up to `index`.
  void OnStated(Index index) {
    if (stated && index > *stated) {
      ticks_stuck = 0;
      detours.erase(fed_by);
    }
    stated = index;
  }

  // What it is known to have. Who is fed by another answers no appends of the leader's, so that
  // nothing would take back what it has had before it lost the end of its log.
  Index Has() const {
    return fed_by == NodeId() ? match : std::min(match, stated.value_or(Index()));
  }

  // Starts over at `index`: after a rejection, a broken link, or silence. A read of the log for it
  // goes on, so that there is never more than one.
  void Probe(Index index) {
    mode = Mode::kProbe;
    fed_by = NodeId();
    next = index;
    match = std::min(match, index.Previous());
    probe_sent = false;
    ticks_since_progress = 0;
    in_flight_.clear();
    in_flight_bytes_ = 0;
  }

  // What it needs is to come by the snapshot of this offer.
  void AwaitSnapshot(NodeId source, const SnapshotOffer& offer) {
    Probe(next);
    mode = Mode::kSnapshot;
    snapshot = {.source = source, .report = {.id = offer.id}, .at_least = offer.at_least};
  }

  // Somebody else feeds it from now on; 0: nobody else. What was sent may be lost.
  void FeedBy(NodeId feeder) {
    match = Has();
    Probe(next);
    fed_by = feeder;
    ticks_stuck = 0;
    if (feeder != NodeId()) mode = Mode::kReplicate;
  }

  // What was sent may be lost. As long as nothing is known of its log, the place to ask about
  // stays.
  void ProbeAgain() {
    const bool unknown = mode == Mode::kProbe || fed_by != NodeId();
    Probe(unknown ? next : match.Next());
  }

  uint64_t in_flight_bytes() const { return in_flight_bytes_; }
  bool has_in_flight() const { return !in_flight_.empty() || probe_sent; }

 private:
  std::deque<std::pair<Index, uint64_t>> in_flight_;  // last index and bytes of each append
  uint64_t in_flight_bytes_ = 0;
};

}  // namespace skein
