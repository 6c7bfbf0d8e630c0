// What the lag benchmark computes from what it observed. Pure: no I/O, no clock; not thread-safe.
//
// The lag of a follower at a stage is the time from the leader's append of an entry to that stage
// on the follower. All times are CLOCK_MONOTONIC of one host.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "cli/histogram.h"
#include "skein/results.h"

namespace skein::cli {

enum class LagStage { kReceived, kDurable, kApplied, kVisible };
inline constexpr size_t kLagStages = 4;
inline constexpr std::array<const char*, kLagStages> kLagStageNames = {"received", "durable",
                                                                       "applied", "visible"};

// The entries of one node, put together from answers that overlap.
class TraceBook {
 public:
  // Entries up to this revision are of no interest.
  explicit TraceBook(uint64_t after_revision = 0) : after_revision_(after_revision) {}

  // Later answers win: they know of more stages, and of what replaced a truncated tail.
  void Add(const std::vector<EntryStages>& entries);
  // Everything up to this revision has passed every stage: ask for what is above it.
  uint64_t after_revision() const { return after_revision_; }
  // Times between answers in which the node forgot entries before they were fetched.
  uint64_t gaps() const { return gaps_; }

  const std::map<uint64_t, EntryStages>& entries() const { return entries_; }  // by index
  // The entry that holds the revision; nullptr: not known.
  const EntryStages* FindRevision(uint64_t revision) const;

 private:
  std::map<uint64_t, EntryStages> entries_;
  std::map<uint64_t, uint64_t> index_of_;  // first revision -> index, without empty entries
  uint64_t after_revision_;
  uint64_t gaps_ = 0;
};

// The lags of one entry on one follower; nullopt: the stage was not seen.
struct EntryLag {
  uint64_t appended_us = 0;  // on the leader
  uint64_t revisions = 0;
  std::array<std::optional<uint64_t>, 3> lag_us;  // received, durable, applied
};

struct JoinResult {
  uint64_t joined = 0;
  uint64_t missing = 0;  // entries of the leader that the follower has not shown as applied
};

// Visits every entry with commands that the leader appended in [begin_us, end_us), in order.
JoinResult JoinTraces(const TraceBook& leader, const TraceBook& follower, uint64_t begin_us,
                      uint64_t end_us, const std::function<void(const EntryLag&)>& visit);

// What reads of one key on one node returned over time.
class VersionTimeline {
 public:
  // In order of time. Keeps only what raises the version.
  void Saw(uint64_t version, uint64_t at_us);
  uint64_t newest() const { return seen_.empty() ? 0 : seen_.back().first; }
  // When the first read returned this version or a newer one; nullopt: none did.
  std::optional<uint64_t> FirstAtLeast(uint64_t version) const;

 private:
  std::vector<std::pair<uint64_t, uint64_t>> seen_;  // version, time; both rising
};

// Lags of one stage, gathered in equal slices of time.
class LagSlices {
 public:
  LagSlices(uint64_t begin_us, uint64_t slice_us) : begin_us_(begin_us), slice_us_(slice_us) {}

  struct Slice {
    double seconds = 0;  // of its middle, since the begin
    uint64_t count = 0;
    uint64_t p50_us = 0;
    uint64_t p99_us = 0;
    uint64_t max_us = 0;
  };

  void Record(uint64_t at_us, uint64_t lag_us);
  std::vector<Slice> Summary() const;  // empty slices are left out

 private:
  const uint64_t begin_us_;
  const uint64_t slice_us_;
  std::map<uint64_t, std::vector<uint64_t>> lags_;  // by number of the slice
};

}  // namespace skein::cli
