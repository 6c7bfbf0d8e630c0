#include "cli/bench_lag_report.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <thread>

#include "cli/text.h"

namespace skein::cli {
namespace {

constexpr uint64_t kSliceUs = 100'000;

nlohmann::ordered_json PercentilesJson(const Histogram& histogram) {
  return {{"count", histogram.count()},         {"p50", histogram.Percentile(50)},
          {"p95", histogram.Percentile(95)},    {"p99", histogram.Percentile(99)},
          {"p999", histogram.Percentile(99.9)}, {"max", histogram.max()}};
}

std::string PercentilesCsv(const Histogram& histogram) {
  return fmt::format("{},{},{},{},{},{}", histogram.count(), histogram.Percentile(50),
                     histogram.Percentile(95), histogram.Percentile(99), histogram.Percentile(99.9),
                     histogram.max());
}

// "name : value" lines as in /proc/cpuinfo and /proc/meminfo.
std::string ProcField(const std::string& file, const std::string& name) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind(name, 0) != 0) continue;
    const size_t start = line.find_first_not_of(" \t", line.find(':') + 1);
    if (start != std::string::npos) return line.substr(start);
  }
  return "";
}

nlohmann::ordered_json MachineJson() {
  utsname system = {};
  uname(&system);
  const double memory =
      static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  return {{"cpu", ProcField("/proc/cpuinfo", "model name")},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_bytes", static_cast<uint64_t>(memory)},
          {"system", fmt::format("{} {}", system.sysname, system.release)}};
}

std::string UtcNow() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// Largest and mean value of one field of the samples.
nlohmann::ordered_json SampledJson(const FollowerLag& follower, uint64_t NodeLag::*field) {
  uint64_t max = 0;
  double sum = 0;
  for (const auto& sample : follower.samples) {
    max = std::max(max, sample.lag.*field);
    sum += static_cast<double>(sample.lag.*field);
  }
  const size_t count = follower.samples.size();
  return {{"mean", count == 0 ? 0 : sum / static_cast<double>(count)}, {"max", max}};
}

nlohmann::ordered_json FollowerJson(const FollowerLag& follower) {
  nlohmann::ordered_json json;
  json["id"] = follower.node.id;
  json["address"] = follower.node.address;
  for (size_t stage = 0; stage < kLagStages; ++stage) {
    json["lag_us"][kLagStageNames[stage]] = PercentilesJson(follower.stage_us[stage]);
  }
  json["lag_revisions"] = SampledJson(follower, &NodeLag::revisions);
  json["lag_bytes"] = SampledJson(follower, &NodeLag::bytes);
  json["samples"] = follower.samples.size();
  json["missing_entries"] = follower.missing_entries;
  json["missing_probes"] = follower.missing_probes;
  return json;
}

nlohmann::ordered_json LoadJson(const LoadResult& load) {
  return {{"ops", load.ops()},
          {"ops_per_second", OpsPerSecond(load)},
          {"seconds", load.seconds},
          {"errors", load.errors},
          {"errors_by_reason", load.errors_by_reason},
          {"latency_us", PercentilesJson(load.latency_us)}};
}

nlohmann::ordered_json StepJson(const LagStep& step) {
  nlohmann::ordered_json json;
  json["percent"] = step.percent;
  json["offered_per_second"] = step.offered;
  json["achieved_per_second"] = OpsPerSecond(step.load);
  json["put"] = LoadJson(step.load);
  json["entries"] = step.entries;
  json["entry_bytes"] = step.entry_bytes;
  json["leader_us"] = {{"durable", PercentilesJson(step.leader_durable_us)},
                       {"applied", PercentilesJson(step.leader_applied_us)}};
  json["followers"] = nlohmann::ordered_json::array();
  for (const FollowerLag& follower : step.followers) {
    json["followers"].push_back(FollowerJson(follower));
  }
  json["probes"] = {{"writes", step.probes},
                    {"errors", step.probe_errors},
                    {"read_us", PercentilesJson(step.probe_read_us)}};
  json["errors"] = {{"put", step.load.errors},
                    {"probe", step.probe_errors},
                    {"sample", step.sample_errors},
                    {"trace_gaps", step.trace_gaps},
                    {"leader_changed", step.leader_changed}};
  return json;
}

FollowerLag SummarizeFollower(const LagWatchOptions& watched, const LagObservations& seen,
                              size_t number, uint64_t begin_us, uint64_t end_us) {
  FollowerLag follower;
  follower.node = watched.followers[number];
  std::vector<LagSlices> slices(kLagStages, LagSlices(begin_us, kSliceUs));
  const auto record = [&](LagStage stage, uint64_t at_us, uint64_t lag_us) {
    follower.stage_us[static_cast<size_t>(stage)].Record(lag_us);
    slices[static_cast<size_t>(stage)].Record(at_us, lag_us);
  };
  const JoinResult joined =
      JoinTraces(seen.leader, seen.followers[number], begin_us, end_us, [&](const EntryLag& entry) {
        for (const LagStage stage : {LagStage::kReceived, LagStage::kDurable, LagStage::kApplied}) {
          const auto& lag_us = entry.lag_us[static_cast<size_t>(stage)];
          if (lag_us.has_value()) record(stage, entry.appended_us, *lag_us);
        }
      });
  follower.missing_entries = joined.missing;
  for (const uint64_t revision : seen.probe_revisions) {
    const EntryStages* entry = seen.leader.FindRevision(revision);
    if (entry == nullptr || entry->appended_us < begin_us || entry->appended_us >= end_us) continue;
    const auto visible_us = seen.timelines[number].FirstAtLeast(revision);
    if (visible_us.has_value() && *visible_us >= entry->appended_us) {
      record(LagStage::kVisible, entry->appended_us, *visible_us - entry->appended_us);
    } else {
      ++follower.missing_probes;
    }
  }
  for (size_t stage = 0; stage < kLagStages; ++stage) {
    follower.slices[stage] = slices[stage].Summary();
  }
  for (const LagSample& sample : seen.samples) {
    if (sample.follower != number || sample.at_us < begin_us || sample.at_us >= end_us) continue;
    follower.samples.push_back({static_cast<double>(sample.at_us - begin_us) / 1e6, sample.lag});
  }
  return follower;
}

absl::Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::trunc);
  out << text;
  out.close();
  if (out) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

std::string Millis(uint64_t micros) {
  return fmt::format("{:.2f} ms", static_cast<double>(micros) / 1000);
}

std::string Rounded(double number) { return WithCommas(static_cast<uint64_t>(number + 0.5)); }

}  // namespace

void Summarize(const LagWatchOptions& watched, const LagObservations& seen, uint64_t begin_us,
               double duration_seconds, LagStep* step) {
  const uint64_t end_us = begin_us + static_cast<uint64_t>(duration_seconds * 1e6);
  const JoinResult own =
      JoinTraces(seen.leader, seen.leader, begin_us, end_us, [step](const EntryLag& entry) {
        if (entry.lag_us[1].has_value()) step->leader_durable_us.Record(*entry.lag_us[1]);
        if (entry.lag_us[2].has_value()) step->leader_applied_us.Record(*entry.lag_us[2]);
      });
  step->entries = own.joined + own.missing;
  for (const auto& [index, entry] : seen.leader.entries()) {
    if (entry.appended_us >= begin_us && entry.appended_us < end_us) {
      step->entry_bytes += entry.bytes;
    }
  }
  step->trace_gaps = seen.leader.gaps();
  for (size_t i = 0; i < watched.followers.size(); ++i) {
    step->followers.push_back(SummarizeFollower(watched, seen, i, begin_us, end_us));
    step->trace_gaps += seen.followers[i].gaps();
  }
  step->probes = seen.probe_revisions.size();
  step->probe_errors = seen.probe_errors;
  step->probe_read_us = seen.probe_read_us;
  step->sample_errors = seen.sample_errors;
  step->leader_changed = seen.leader_changed;
}

double OpsPerSecond(const LoadResult& result) {
  return result.seconds > 0 ? static_cast<double>(result.ops()) / result.seconds : 0;
}

nlohmann::ordered_json LagReportJson(const LagReport& report) {
  nlohmann::ordered_json json;
  json["benchmark"] = "lag";
  json["time"] = UtcNow();
  json["version"] = report.version;
  json["machine"] = MachineJson();
  json["cluster"] = {{"nodes", report.nodes}, {"leader", report.leader.id}};
  json["load"] = {{"clients", report.load.clients},
                  {"connections", report.load.connections},
                  {"value_bytes", report.load.value_bytes},
                  {"key_bytes", LoadKey(0).size()},
                  {"keys", report.load.keys},
                  {"ack", AckName(report.load.write.ack)},
                  {"seconds_per_step", report.load.duration_seconds},
                  {"probes_per_second", report.probes_per_second}};
  json["saturation"] = LoadJson(report.saturation);
  json["steps"] = nlohmann::ordered_json::array();
  for (const LagStep& step : report.steps) json["steps"].push_back(StepJson(step));
  return json;
}

void PrintLagTables(const LagReport& report) {
  std::vector<std::vector<std::string>> puts = {
      {"LOAD", "OFFERED/S", "ACHIEVED/S", "ERRORS", "PUT P50", "P95", "P99", "P99.9", "MAX"}};
  const auto put_row = [&puts](const std::string& name, double offered, const LoadResult& load) {
    const Histogram& latency = load.latency_us;
    puts.push_back({name, offered > 0 ? Rounded(offered) : "-", Rounded(OpsPerSecond(load)),
                    WithCommas(load.errors), Millis(latency.Percentile(50)),
                    Millis(latency.Percentile(95)), Millis(latency.Percentile(99)),
                    Millis(latency.Percentile(99.9)), Millis(latency.max())});
  };
  put_row("closed", 0, report.saturation);
  std::vector<std::vector<std::string>> lags = {
      {"LOAD", "FOLLOWER", "STAGE", "COUNT", "LAG P50", "P95", "P99", "P99.9", "MAX"}};
  for (const LagStep& step : report.steps) {
    const std::string name = fmt::format("{} %", step.percent);
    put_row(name, step.offered, step.load);
    for (const FollowerLag& follower : step.followers) {
      for (size_t stage = 0; stage < kLagStages; ++stage) {
        const Histogram& lag = follower.stage_us[stage];
        lags.push_back({name, follower.node.id, kLagStageNames[stage], WithCommas(lag.count()),
                        Millis(lag.Percentile(50)), Millis(lag.Percentile(95)),
                        Millis(lag.Percentile(99)), Millis(lag.Percentile(99.9)),
                        Millis(lag.max())});
      }
    }
  }
  PrintTable(puts);
  fmt::print("\n");
  PrintTable(lags);
}

absl::Status WriteLagCsv(const std::string& folder, const LagReport& report) {
  std::string throughput =
      "percent,offered_per_second,achieved_per_second,errors,"
      "count,p50_us,p95_us,p99_us,p999_us,max_us\n";
  std::string percentiles =
      "percent,offered_per_second,achieved_per_second,follower,stage,"
      "count,p50_us,p95_us,p99_us,p999_us,max_us\n";
  std::string time = "percent,follower,stage,seconds,count,p50_us,p99_us,max_us\n";
  std::string samples = "percent,follower,seconds,revisions,bytes,milliseconds\n";
  for (const LagStep& step : report.steps) {
    const std::string rates =
        fmt::format("{},{:.1f},{:.1f}", step.percent, step.offered, OpsPerSecond(step.load));
    throughput +=
        fmt::format("{},{},{}\n", rates, step.load.errors, PercentilesCsv(step.load.latency_us));
    for (const FollowerLag& follower : step.followers) {
      for (size_t stage = 0; stage < kLagStages; ++stage) {
        percentiles += fmt::format("{},{},{},{}\n", rates, follower.node.id, kLagStageNames[stage],
                                   PercentilesCsv(follower.stage_us[stage]));
        for (const LagSlices::Slice& slice : follower.slices[stage]) {
          time += fmt::format("{},{},{},{:.2f},{},{},{},{}\n", step.percent, follower.node.id,
                              kLagStageNames[stage], slice.seconds, slice.count, slice.p50_us,
                              slice.p99_us, slice.max_us);
        }
      }
      for (const auto& sample : follower.samples) {
        samples +=
            fmt::format("{},{},{:.3f},{},{},{}\n", step.percent, follower.node.id, sample.seconds,
                        sample.lag.revisions, sample.lag.bytes, sample.lag.milliseconds);
      }
    }
  }
  for (const auto& [name, text] :
       {std::pair{"lag-throughput.csv", &throughput},
        std::pair{"lag-percentiles.csv", &percentiles}, std::pair{"lag-time.csv", &time},
        std::pair{"lag-samples.csv", &samples}}) {
    const absl::Status written = WriteFile(folder + "/" + name, *text);
    if (!written.ok()) return written;
  }
  return absl::OkStatus();
}

}  // namespace skein::cli
