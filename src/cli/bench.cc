#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "cli/bench_lag.h"
#include "cli/command.h"
#include "cli/load.h"
#include "cli/progress.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct BenchFlags {
  std::string operation;
  LoadOptions load;
  bool preload = false;
  int mixed_read_percent = 50;
  ReadFlags read;
  WriteFlags write;
};

// One line on a terminal's standard error, rewritten once a second.
class ProgressLine {
 public:
  explicit ProgressLine(double duration) : on_(isatty(STDERR_FILENO) != 0), duration_(duration) {}
  ~ProgressLine() {
    if (shown_) fmt::print(stderr, "\r\033[K");
  }

  void Show(const LoadProgress& now) {
    if (!on_ || now.seconds < last_.seconds + 1) return;
    const double rate = static_cast<double>(now.done - last_.done) / (now.seconds - last_.seconds);
    fmt::print(stderr, "\r\033[K{:3.0f} of {:.0f} s   {} ops/s   {} errors", now.seconds, duration_,
               WithCommas(static_cast<uint64_t>(rate)), WithCommas(now.errors));
    std::fflush(stderr);
    last_ = now;
    shown_ = true;
  }

 private:
  const bool on_;
  const double duration_;
  LoadProgress last_;
  bool shown_ = false;
};

absl::Status PreloadWithProgress(Client* client, const LoadOptions& options) {
  if (isatty(STDERR_FILENO) == 0) return Preload(client, options, [](uint64_t) {});
  constexpr std::chrono::milliseconds kInterval(100);
  Progress progress;
  std::chrono::steady_clock::time_point shown_at;
  return Preload(client, options, [&](uint64_t written) {
    const auto now = std::chrono::steady_clock::now();
    if (now < shown_at + kInterval) return;
    shown_at = now;
    progress.Show("writing",
                  fmt::format("{} of {} keys", WithCommas(written), WithCommas(options.keys)),
                  static_cast<double>(written) / static_cast<double>(options.keys));
  });
}

double Rate(const LoadResult& result) {
  return result.seconds > 0 ? static_cast<double>(result.ops()) / result.seconds : 0;
}

nlohmann::ordered_json ResultJson(const BenchFlags& flags, const LoadResult& result) {
  nlohmann::ordered_json json;
  json["operation"] = flags.operation;
  json["ops"] = result.ops();
  json["errors"] = result.errors;
  json["ops_per_second"] = Rate(result);
  json["latency_us"] = {{"p50", result.latency_us.Percentile(50)},
                        {"p95", result.latency_us.Percentile(95)},
                        {"p99", result.latency_us.Percentile(99)},
                        {"p999", result.latency_us.Percentile(99.9)},
                        {"max", result.latency_us.max()}};
  json["longest_gap_us"] = result.longest_gap_us;
  json["seconds"] = result.seconds;
  json["reads"] = result.reads;
  json["writes"] = result.writes;
  json["not_found"] = result.not_found;
  json["errors_by_reason"] = result.errors_by_reason;
  json["loop"] = flags.load.rate > 0 ? "open" : "closed";
  json["rate"] = flags.load.rate;
  json["clients"] = flags.load.clients;
  json["connections"] = flags.load.connections;
  json["value_bytes"] = flags.load.value_bytes;
  json["keys"] = flags.load.keys;
  json["ack"] = flags.write.ack;
  json["consistency"] = flags.read.consistency;
  return json;
}

std::string Millis(uint64_t micros) {
  return fmt::format("{:.2f} ms", static_cast<double>(micros) / 1000);
}

void PrintResult(const Globals& globals, const BenchFlags& flags, const LoadResult& result) {
  const Histogram& latency = result.latency_us;
  switch (ListOutput(globals)) {
    case Output::kJson:
      PrintJson(ResultJson(flags, result));
      return;
    case Output::kPlain:
      fmt::print(
          "{} ops={} errors={} ops_per_second={:.0f} p50_us={} p95_us={} p99_us={} "
          "p999_us={} max_us={}\n",
          flags.operation, result.ops(), result.errors, Rate(result), latency.Percentile(50),
          latency.Percentile(95), latency.Percentile(99), latency.Percentile(99.9), latency.max());
      break;
    case Output::kDefault:
    case Output::kTable:
      PrintTable({{"OPERATION", "OPS", "ERRORS", "OPS/S", "P50", "P95", "P99", "P99.9", "MAX"},
                  {flags.operation, WithCommas(result.ops()), WithCommas(result.errors),
                   WithCommas(static_cast<uint64_t>(Rate(result))), Millis(latency.Percentile(50)),
                   Millis(latency.Percentile(95)), Millis(latency.Percentile(99)),
                   Millis(latency.Percentile(99.9)), Millis(latency.max())}});
  }
  for (const auto& [reason, count] : result.errors_by_reason) {
    fmt::print(stderr, "skein: {} calls failed: {}\n", WithCommas(count), reason);
  }
  if (result.not_found > 0) {
    fmt::print(stderr, "skein: {} of {} reads found no key; --preload writes the keys first\n",
               WithCommas(result.not_found), WithCommas(result.reads));
  }
}

int RunBench(const Globals& globals, const BenchFlags& flags) {
  LoadOptions options = flags.load;
  options.read = flags.read.Options(globals);
  options.write = flags.write.Options(globals);
  options.read_percent = flags.operation == "get"   ? 100
                         : flags.operation == "put" ? 0
                                                    : flags.mixed_read_percent;
  if (options.clients < options.connections) {
    return FailUsage("--connections must not be above --clients");
  }
  CatchInterrupt();
  // Tells at once what is wrong, instead of after the whole duration.
  const std::unique_ptr<Client> probe = globals.Connect();
  const auto read = probe->Get(LoadKey(0), options.read);
  if (!read.ok()) return Fail(globals, "bench", read.status());
  if (flags.preload) {
    const absl::Status loaded = PreloadWithProgress(probe.get(), options);
    if (!loaded.ok()) return Fail(globals, "bench --preload", loaded);
  }
  LoadResult result;
  {
    ProgressLine line(options.duration_seconds);
    result = RunLoad(
        options,
        [&] {
          auto client = globals.Connect();
          client->SetToken(probe->token());
          return client;
        },
        [&](const LoadProgress& progress) {
          line.Show(progress);
          return !Interrupted();
        });
  }
  PrintResult(globals, flags, result);
  return result.ops() > 0 ? kExitDone : kExitFailed;
}

void AddLoad(CLI::App* bench, Globals* globals, const std::string& operation,
             const std::string& description) {
  auto flags = std::make_shared<BenchFlags>();
  flags->operation = operation;
  LoadOptions& load = flags->load;
  CLI::App* command = bench->add_subcommand(operation, description);
  command->add_option("--clients", load.clients, "callers, each with one call under way")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  command->add_option("--connections", load.connections, "client objects that the callers share")
      ->capture_default_str()
      ->check(CLI::Range(1, 10'000));
  command->add_option("--value-size", load.value_bytes, "bytes of a value")->capture_default_str();
  command->add_option("--keys", load.keys, "how many different keys, of 16 bytes each")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1}, uint64_t{9'999'999'999}));
  command->add_option("--duration", load.duration_seconds, "seconds to measure")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 86400.0));
  command->add_option("--warmup", load.warmup_seconds, "seconds before, not measured")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 3600.0));
  command
      ->add_option("--rate", load.rate,
                   "begin so many calls a second, whatever the answers (open loop); 0: each caller "
                   "waits for its answer (closed loop)")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e7));
  command->add_flag("--preload", flags->preload, "write all keys once before measuring");
  if (operation != "put") flags->read.AddTo(command);
  if (operation == "mixed") {
    command->add_option("--read-percent", flags->mixed_read_percent, "share of reads")
        ->capture_default_str()
        ->check(CLI::Range(0, 100));
  }
  flags->write.AddTo(command);
  command->footer(
      fmt::format("Examples:\n"
                  "  skein bench {0} --clients 64 --duration 10\n"
                  "  skein bench {0} --rate 5000 --duration 30 --output json",
                  operation));
  command->callback([=] { globals->run = [=] { return RunBench(*globals, *flags); }; });
}

}  // namespace

void AddBench(CLI::App* app, Globals* globals) {
  CLI::App* bench = app->add_subcommand("bench", "Drive the cluster with load, and measure");
  bench->require_subcommand(1);
  AddLoad(bench, globals, "put", "Only writes");
  AddLoad(bench, globals, "get", "Only reads");
  AddLoad(bench, globals, "mixed", "Reads and writes");
  AddBenchLag(bench, globals);
  bench->footer(
      "Keys are bench-0000000000 and so on; what stands under them is overwritten.\n"
      "Example:\n  skein bench put --clients 64 --value-size 100 --duration 10");
}

}  // namespace skein::cli
