// skeind: one node of a Skein cluster.
#include <signal.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <string>
#include <thread>

#include "common/error.h"
#include "server/node.h"
#include "server/version.h"

namespace skein {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr uint64_t kMillisMax = 24 * 3600 * 1000;
constexpr uint64_t kBytesMax = uint64_t{1} << 60;

constexpr char kFooter[] = R"(Examples:
  one node alone:
    skeind --id n1 --data-dir /var/lib/skein --initial-cluster n1=127.0.0.1:7411
  the first of three:
    skeind --id n1 --data-dir d1 --listen 127.0.0.1:7411 \
      --initial-cluster n1=127.0.0.1:7411,n2=127.0.0.1:7412,n3=127.0.0.1:7413
  the same from a file, with keys named like the flags:
    skeind --config skeind.toml

Every flag can also be given as SKEIN_NAME in the environment, as SKEIN_DATA_DIR.
Exit codes: 0 stopped on request; 1 could not go on; 2 wrong usage.)";

struct Flags {
  NodeOptions options;
  std::string initial_cluster;
  uint64_t heartbeat_ms = 50;
  uint64_t election_min_ms = 500;
  uint64_t election_max_ms = 0;  // 0: twice the minimum
  uint64_t stall_ms = 2000;
};

// A flag that can also be a key of the config file and a variable of the environment.
template <typename T>
CLI::Option* AddFlag(CLI::App* app, const std::string& name, T* value, const std::string& help) {
  std::string variable = "SKEIN_";
  for (const char c : name) variable += c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return app->add_option("--" + name, *value, help)->envname(variable)->capture_default_str();
}

// Digits only: a plain conversion takes -1 for the largest number there is.
CLI::Option* AddNumber(CLI::App* app, const std::string& name, uint64_t* value, uint64_t max,
                       const std::string& help) {
  return AddFlag(app, name, value, help)->check([max](const std::string& text) -> std::string {
    uint64_t number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error == std::errc() && rest == end && number <= max) return "";
    return "'" + text + "' is not a number from 0 to " + std::to_string(max);
  });
}

void AddFlags(CLI::App* app, Flags* flags) {
  NodeOptions& options = flags->options;
  AddFlag(app, "id", &options.name, "Name of this node, as n1")->required();
  AddFlag(app, "data-dir", &options.data_directory, "Where this node keeps its data")->required();
  AddFlag(app, "listen", &options.listen, "Address to serve on");
  AddFlag(app, "advertise", &options.advertise,
          "Address that others reach this node at [default: its own in --initial-cluster]");
  AddFlag(app, "initial-cluster", &flags->initial_cluster,
          "All nodes: NAME=HOST:PORT,NAME=HOST:PORT,...")
      ->required();
  AddFlag(app, "cluster-token", &options.cluster_token,
          "Name of the cluster; nodes of different names refuse each other");
  AddNumber(app, "heartbeat-interval", &flags->heartbeat_ms, kMillisMax,
            "Milliseconds between heartbeats");
  AddNumber(app, "election-timeout", &flags->election_min_ms, kMillisMax,
            "Milliseconds without a leader after which the first node campaigns");
  AddNumber(app, "election-timeout-max", &flags->election_max_ms, kMillisMax,
            "... and the last one [default: twice --election-timeout]");
  AddNumber(app, "disk-stall-limit", &flags->stall_ms, kMillisMax,
            "Milliseconds after which a leader whose disk hangs gives up");
  AddNumber(app, "disk-reserve-bytes", &options.disk_reserve_bytes, kBytesMax,
            "Puts are refused while less disk space is free");
  AddNumber(app, "key-bytes-max", &options.limits.key_bytes_max, kBytesMax, "Longest key");
  AddNumber(app, "value-bytes-max", &options.limits.value_bytes_max, kBytesMax, "Longest value");
  AddNumber(app, "block-cache-bytes", &options.storage.state_block_cache_bytes, kBytesMax,
            "Memory for blocks of the state database");
  AddFlag(app, "log-level", &options.log.level, "debug, info, warning or error");
  AddFlag(app, "log-format", &options.log.format, "text or json");
}

absl::Status TakeFlags(Flags* flags) {
  CoreOptions& core = flags->options.replica.core;
  const auto ticks = [&core](uint64_t ms) { return (ms + core.tick_ms - 1) / core.tick_ms; };
  core.heartbeat_ticks = ticks(flags->heartbeat_ms);
  core.election_ticks_min = ticks(flags->election_min_ms);
  core.election_ticks_max =
      ticks(flags->election_max_ms != 0 ? flags->election_max_ms : 2 * flags->election_min_ms);
  core.stall_ticks = ticks(flags->stall_ms);
  const absl::Status parsed = ParseCluster(flags->initial_cluster, &flags->options.initial_cluster);
  return parsed.ok() ? flags->options.Validate() : parsed;
}

// Blocks the signals before any thread starts, so that one thread can wait for them.
sigset_t BlockStopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGUSR1);  // ends the waiting thread itself
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

int Fail(const absl::Status& status, int code) {
  std::fprintf(stderr, "skeind: %s\n", MessageAndHintOf(status).c_str());
  return code;
}

int Run(int argc, char** argv) {
  umask(077);  // what a node stores is nobody else's business
  CLI::App app("skeind: one node of a Skein cluster, a replicated key-value store");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("skeind ") + kVersion);
  app.set_config("--config", "", "TOML file with the flags as keys");
  app.allow_config_extras(false);
  app.option_defaults()->always_capture_default();
  Flags flags;
  AddFlags(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return Fail(absl::InvalidArgumentError(std::string(e.what()) + " (see skeind --help)"),
                kExitUsage);
  }
  const absl::Status valid = TakeFlags(&flags);
  if (!valid.ok()) return Fail(valid, kExitUsage);
  auto logger = Logger::Create(flags.options.log, flags.options.name);
  if (!logger.ok()) return Fail(logger.status(), kExitUsage);

  const sigset_t signals = BlockStopSignals();
  auto node = Node::Start(flags.options, logger->get());
  if (!node.ok()) {
    // Wrong set-up, as opposed to trouble with what is stored.
    const bool usage = absl::IsInvalidArgument(node.status()) ||
                       absl::IsFailedPrecondition(node.status()) ||
                       absl::IsPermissionDenied(node.status());
    return Fail(node.status(), usage ? kExitUsage : kExitFailed);
  }
  std::thread signal_thread([&signals, &node, &logger] {
    int signal = 0;
    sigwait(&signals, &signal);
    if (signal == SIGUSR1) return;
    (*logger)->Event(LogLevel::kInfo, "stopping", {{"signal", strsignal(signal)}});
    (*node)->RequestStop();
  });
  const absl::Status reason = (*node)->WaitUntilStopped();
  pthread_kill(signal_thread.native_handle(), SIGUSR1);
  signal_thread.join();
  if (!reason.ok()) {
    (*logger)->Event(LogLevel::kError, "fatal", {{"text", MessageAndHintOf(reason)}});
  }
  (*node)->Stop();
  return reason.ok() ? 0 : kExitFailed;
}

}  // namespace
}  // namespace skein

int main(int argc, char** argv) { return skein::Run(argc, argv); }
