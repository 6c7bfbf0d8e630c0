#include "cli/bench_lag.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "cli/bench_lag_report.h"
#include "cli/bench_lag_watch.h"
#include "cli/load.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct BenchLagFlags {
  std::vector<int> percents = {25, 50, 75, 90};
  LoadOptions load;
  double saturation_seconds = 10;
  double probes_per_second = 50;
  bool quick = false;
  std::string raw;
  WriteFlags write;
};

// Tells what is going on: one line on a terminal, rewritten twice a second; else one line a phase.
class PhaseLine {
 public:
  PhaseLine(std::string phase, double duration) : phase_(std::move(phase)), duration_(duration) {
    if (!terminal_) fmt::print(stderr, "{}, {:.0f} s\n", phase_, duration_);
  }
  ~PhaseLine() {
    if (terminal_) fmt::print(stderr, "\r\033[K");
  }

  void Show(const LoadProgress& now) {
    if (!terminal_ || now.seconds < last_.seconds + 0.5) return;
    const double rate = static_cast<double>(now.done - last_.done) / (now.seconds - last_.seconds);
    fmt::print(stderr, "\r\033[K{}: {:.0f} of {:.0f} s   {} puts/s   {} errors", phase_,
               std::max(now.seconds, 0.0), duration_, WithCommas(static_cast<uint64_t>(rate)),
               WithCommas(now.errors));
    std::fflush(stderr);
    last_ = now;
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  const std::string phase_;
  const double duration_;
  LoadProgress last_;
};

class LagBench {
 public:
  LagBench(const Globals& globals, const BenchLagFlags& flags) : globals_(globals), flags_(flags) {
    report_.load = flags.load;
    report_.load.write = flags.write.Options(globals);
    report_.probes_per_second = flags.probes_per_second;
  }

  const LagReport& report() const { return report_; }

  // Learns who leads, and that what will be measured can be measured here.
  absl::Status Prepare() {
    const std::unique_ptr<Client> client = globals_.Connect();
    const auto cluster = client->Status(globals_.Timeout());
    if (!cluster.ok()) return cluster.status();
    watched_.endpoints = globals_.EndpointList();
    watched_.probes_per_second = flags_.probes_per_second;
    watched_.timeout = globals_.Timeout();
    for (const NodeStatus& node : cluster->nodes) {
      if (!node.reachable) {
        return absl::UnavailableError(
            fmt::format("{} at {} does not answer: the lag of every "
                        "node is to be measured",
                        node.id, node.address));
      }
      if (node.id == cluster->leader_id) {
        watched_.leader = {node.id, node.address};
        report_.version = node.version;
      } else {
        watched_.followers.push_back({node.id, node.address});
      }
    }
    if (watched_.leader.id.empty()) return absl::UnavailableError("no node leads");
    if (watched_.followers.empty()) {
      return absl::FailedPreconditionError("a cluster of one node has no replication lag");
    }
    report_.leader = watched_.leader;
    report_.nodes = cluster->nodes.size();
    return CheckOneClock(client.get(), watched_.leader, watched_.followers);
  }

  absl::Status FindSaturation() {
    LoadOptions options = report_.load;
    options.duration_seconds = flags_.saturation_seconds;
    report_.saturation = Drive("finding saturation", options, nullptr);
    if (report_.saturation.ops() > 0) return absl::OkStatus();
    return absl::UnavailableError("no put succeeded while looking for saturation");
  }

  void RunStep(int percent) {
    LagStep step;
    step.percent = percent;
    step.offered = OpsPerSecond(report_.saturation) * percent / 100;
    LoadOptions options = report_.load;
    options.rate = std::max(step.offered, 1.0);
    LagWatch watch(watched_);
    watch.Start();
    uint64_t begin_us = 0;
    step.load = Drive(fmt::format("load {} % ({} puts/s)", percent,
                                  WithCommas(static_cast<uint64_t>(step.offered))),
                      options, &begin_us);
    Summarize(watched_, watch.Stop(), begin_us, step.load.seconds, &step);
    if (!Interrupted()) report_.steps.push_back(std::move(step));
  }

 private:
  // `*begin_us`, unless null: when the warm-up was over.
  LoadResult Drive(const std::string& phase, const LoadOptions& options, uint64_t* begin_us) {
    PhaseLine line(phase, options.duration_seconds);
    bool begun = false;
    return RunLoad(
        options, [&] { return globals_.Connect(); },
        [&](const LoadProgress& progress) {
          if (!begun && begin_us != nullptr) {
            const double now_us = static_cast<double>(MonotonicMicros());
            *begin_us = static_cast<uint64_t>(now_us - progress.seconds * 1e6);
          }
          begun = true;
          line.Show(progress);
          return !Interrupted();
        });
  }

  const Globals& globals_;
  const BenchLagFlags& flags_;
  LagWatchOptions watched_;
  LagReport report_;
};

int Print(const Globals& globals, const LagReport& report) {
  if (ListOutput(globals) == Output::kJson) {
    PrintJson(LagReportJson(report));
  } else {
    PrintLagTables(report);
  }
  for (const LagStep& step : report.steps) {
    if (step.leader_changed) {
      fmt::print(stderr, "skein: the leader changed at {} %: its lags are not to be trusted\n",
                 step.percent);
    }
  }
  return kExitDone;
}

int RunBenchLag(const Globals& globals, const BenchLagFlags& flags) {
  if (flags.load.clients < flags.load.connections) {
    return FailUsage("--connections must not be above --clients");
  }
  if (!flags.raw.empty()) {
    std::error_code error;
    std::filesystem::create_directories(flags.raw, error);
    if (error) return FailUsage(fmt::format("--raw {}: {}", flags.raw, error.message()));
  }
  CatchInterrupt();
  LagBench bench(globals, flags);
  absl::Status status = bench.Prepare();
  if (status.ok()) status = bench.FindSaturation();
  if (!status.ok()) return Fail(globals, "bench lag", status);
  for (const int percent : flags.percents) {
    if (!Interrupted()) bench.RunStep(percent);
  }
  if (Interrupted()) {
    fmt::print(stderr, "skein: interrupted; what was not finished is thrown away\n");
  }
  if (bench.report().steps.empty()) return kExitFailed;
  if (!flags.raw.empty()) {
    const absl::Status written = WriteLagCsv(flags.raw, bench.report());
    if (!written.ok()) return Fail(globals, "bench lag --raw", written);
  }
  const int code = Print(globals, bench.report());
  return Interrupted() ? kExitFailed : code;
}

}  // namespace

void AddBenchLag(CLI::App* bench, Globals* globals) {
  auto flags = std::make_shared<BenchLagFlags>();
  LoadOptions& load = flags->load;
  load.duration_seconds = 30;
  load.warmup_seconds = 1;
  CLI::App* command = bench->add_subcommand(
      "lag", "How late followers receive, store, apply and show writes, at several loads");
  command->add_option("--rates", flags->percents, "loads, in percent of saturation, with commas")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 200));
  CLI::Option* duration =
      command->add_option("--duration", load.duration_seconds, "seconds to measure at each load")
          ->capture_default_str()
          ->check(CLI::Range(1.0, 86400.0));
  command->add_option("--value-size", load.value_bytes, "bytes of a value")->capture_default_str();
  command->add_option("--clients", load.clients, "callers, while looking for saturation")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  command->add_option("--connections", load.connections, "client objects that the callers share")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  command->add_option("--keys", load.keys, "how many different keys, of 16 bytes each")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1}, uint64_t{9'999'999'999}));
  command
      ->add_option("--probes", flags->probes_per_second,
                   "writes a second whose visibility on followers is watched")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1000.0));
  command->add_flag("--quick", flags->quick, "7 seconds at each load, if --duration is not given");
  command->add_option("--raw", flags->raw, "folder for CSV files of everything over time");
  flags->write.AddTo(command);
  command->footer(
      "All nodes and this program must run on one host, whose clock they share.\n"
      "Examples:\n"
      "  skein bench lag\n"
      "  skein bench lag --rates 50,90 --duration 60 --raw results --output json");
  command->callback([=] {
    if (flags->quick) {
      flags->saturation_seconds = 4;
      if (duration->count() == 0) flags->load.duration_seconds = 7;
    }
    globals->run = [=] { return RunBenchLag(*globals, *flags); };
  });
}

}  // namespace skein::cli
