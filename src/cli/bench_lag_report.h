// The results of the lag benchmark, and how they are written: JSON, tables, CSV files.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/bench_lag_watch.h"
#include "cli/load.h"

namespace skein::cli {

struct FollowerLag {
  LagNode node;
  std::array<Histogram, kLagStages> stage_us;  // by LagStage
  std::array<std::vector<LagSlices::Slice>, kLagStages> slices;
  uint64_t missing_entries = 0;
  uint64_t missing_probes = 0;  // not visible within the deadline
  // As the leader reported it, over time.
  struct Sample {
    double seconds;
    NodeLag lag;
  };
  std::vector<Sample> samples;
};

struct LagStep {
  int percent = 0;  // of saturation
  double offered = 0;
  LoadResult load;
  uint64_t entries = 0;  // that the leader appended
  uint64_t entry_bytes = 0;
  Histogram leader_durable_us;  // append to durable, on the leader
  Histogram leader_applied_us;
  std::vector<FollowerLag> followers;
  uint64_t probes = 0;
  uint64_t probe_errors = 0;
  Histogram probe_read_us;
  uint64_t sample_errors = 0;
  uint64_t trace_gaps = 0;
  bool leader_changed = false;
};

struct LagReport {
  std::string version;
  LagNode leader;
  size_t nodes = 0;
  LoadOptions load;
  double probes_per_second = 0;
  LoadResult saturation;
  std::vector<LagStep> steps;
};

// What a load step showed, of entries and probes in [begin_us, begin_us + duration).
void Summarize(const LagWatchOptions& watched, const LagObservations& seen, uint64_t begin_us,
               double duration_seconds, LagStep* step);

double OpsPerSecond(const LoadResult& result);
nlohmann::ordered_json LagReportJson(const LagReport& report);
void PrintLagTables(const LagReport& report);
// lag-throughput.csv, lag-percentiles.csv, lag-time.csv and lag-samples.csv.
absl::Status WriteLagCsv(const std::string& folder, const LagReport& report);

}  // namespace skein::cli
