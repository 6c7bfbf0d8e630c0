// The load generator behind `skein bench`, on the public client library alone.
//
// Closed loop: each of `clients` callers has one call under way and begins the next one when it
// is answered. Open loop (`rate` > 0): calls begin at fixed times, whether or not earlier ones
// were answered, and latency counts from the time at which a call should have begun.
//
// Calls that should have begun before the end of the warm-up or after the end are not counted.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/histogram.h"
#include "skein/client.h"

namespace skein::cli {

struct LoadOptions {
  int read_percent = 0;  // of the calls; the others are puts
  int clients = 64;      // callers, in the closed loop
  int connections = 1;   // client objects, over which the callers are spread
  size_t value_bytes = 100;
  uint64_t keys = 10'000;  // drawn uniformly
  double duration_seconds = 10;
  double warmup_seconds = 0.5;
  double rate = 0;                  // calls a second; 0: closed loop
  uint64_t in_flight_max = 20'000;  // open loop: later calls wait, and their latency counts it
  ReadOptions read;
  WriteOptions write;
};

struct LoadResult {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t not_found = 0;  // reads of keys that do not exist; counted in `reads`
  uint64_t errors = 0;     // not counted in `reads` and `writes`
  std::map<std::string, uint64_t> errors_by_reason;
  double seconds = 0;
  Histogram latency_us;  // of the calls that succeeded
  // The longest time in which no call of a connection succeeded: an outage, as a client sees it.
  uint64_t longest_gap_us = 0;

  uint64_t ops() const { return reads + writes; }
};

// What the load has done so far, for a progress line.
struct LoadProgress {
  double seconds = 0;  // since the end of the warm-up; negative: before it
  uint64_t done = 0;
  uint64_t errors = 0;
};

// `connect` makes one client object. `tick` is called on the calling thread several times a second
// and returns false to stop early.
LoadResult RunLoad(const LoadOptions& options,
                   const std::function<std::unique_ptr<Client>()>& connect,
                   const std::function<bool(const LoadProgress&)>& tick);

// The key of number `n`: 16 bytes.
std::string LoadKey(uint64_t n);

// Writes all keys, and again those of whose writes nobody knows the outcome: they would change
// nothing. `tick` is called on the calling thread as often as keys are written, with their number.
absl::Status Preload(Client* client, const LoadOptions& options,
                     const std::function<void(uint64_t)>& tick);

}  // namespace skein::cli
