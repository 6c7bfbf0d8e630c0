// skeind: one node of a Skein cluster.
#include <signal.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "common/error.h"
#include "common/mutex.h"
#include "server/node.h"
#include "server/stop_guard.h"
#include "server/version.h"

namespace skein {
namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr uint64_t kMillisMax = 24 * 3600 * 1000;
constexpr uint64_t kBytesMax = uint64_t{1} << 60;
// How long the process may take to stop once it was told to, beside two election timeouts for the
// other nodes and the callers; and once it was told again.
constexpr std::chrono::seconds kStopLimit{15};
constexpr std::chrono::seconds kHurry{2};

constexpr char kFooter[] = R"(Examples:
  one node alone:
    skeind --id n1 --data-dir /var/lib/skein --initial-cluster n1=127.0.0.1:7411
  the first of three:
    skeind --id n1 --data-dir d1 --listen 127.0.0.1:7411 \
      --initial-cluster n1=127.0.0.1:7411,n2=127.0.0.1:7412,n3=127.0.0.1:7413
  a fourth, once `skein member add n4 127.0.0.1:7414` was run:
    skeind --id n4 --data-dir d4 --listen 127.0.0.1:7414 --join 127.0.0.1:7411,127.0.0.1:7412
  any of them again, with the data that it has:
    skeind --id n1 --data-dir d1 --listen 127.0.0.1:7411
  the first from a file, with keys named like the flags:
    skeind --config skeind.toml

Every flag can also be given as SKEIN_NAME in the environment, as SKEIN_DATA_DIR.
SIGTERM or SIGINT stops it: a leader hands over first. A second one stops it at once.
Exit codes: 0 stopped on request; 1 could not go on, or not stop in time; 2 wrong usage.)";

struct Flags {
  NodeOptions options;
  std::string initial_cluster;
  std::string join;
  std::string peer_addresses;
  uint64_t heartbeat_ms = 50;
  uint64_t election_min_ms = 500;
  uint64_t election_max_ms = 0;  // 0: twice the minimum
  uint64_t stall_ms = 2000;
  uint64_t protocol_version = kProtocolVersion;
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

// One that says nothing when it is not given, and may not be empty.
void AddText(CLI::App* app, const std::string& name, std::string* value, const std::string& help) {
  AddFlag(app, name, value, help)->check([](const std::string& text) -> std::string {
    return text.empty() ? "it is empty" : "";
  });
}

void AddFlags(CLI::App* app, Flags* flags) {
  NodeOptions& options = flags->options;
  AddFlag(app, "id", &options.name, "Name of this node, as n1")->required();
  AddFlag(app, "data-dir", &options.data_directory, "Where this node keeps its data")->required();
  AddFlag(app, "listen", &options.listen, "Address to serve on");
  AddFlag(app, "advertise", &options.advertise,
          "Address that others reach this node at [default: where its cluster knows it to be]");
  AddText(app, "initial-cluster", &flags->initial_cluster,
          "Founds a cluster: all its nodes, NAME=HOST:PORT,NAME=HOST:PORT,...");
  AddText(app, "join", &flags->join,
          "Or joins the one that this node was added to: HOST:PORT,... of some of its nodes");
  AddText(app, "cluster-token", &options.cluster_token,
          "Name of the cluster; nodes of different names refuse each other [default: that of the "
          "data, or of the cluster joined, or skein]");
  AddText(app, "peer-addresses", &flags->peer_addresses,
          "Where this node reaches others, if not where the cluster does: NAME=HOST:PORT,...");
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
  AddNumber(app, "log-retention-bytes", &options.replica.core.log_retention_bytes, kBytesMax,
            "The log is kept for nodes that are behind up to so much");
  AddNumber(app, "snapshots-max", &options.snapshots.at_once_max, 1000,
            "Snapshots that this node sends at the same time");
  AddNumber(app, "snapshot-bytes-per-second", &options.snapshots.bytes_per_second, kBytesMax,
            "How fast all of them together; 0: no limit");
  AddNumber(app, "snapshot-bytes-per-second-beside-writes",
            &options.snapshots.bytes_per_second_beside_writes, kBytesMax,
            "... while there are writes; 0: as without");
  AddNumber(app, "key-bytes-max", &options.limits.key_bytes_max, kBytesMax, "Longest key");
  AddNumber(app, "value-bytes-max", &options.limits.value_bytes_max, kBytesMax, "Longest value");
  AddNumber(app, "block-cache-bytes", &options.storage.state_block_cache_bytes, kBytesMax,
            "Memory for blocks of the state database");
  AddNumber(app, "protocol-version", &flags->protocol_version, UINT32_MAX,
            "Speaks with other nodes as an older release does, to try an upgrade or go back");
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
  core.protocol_version = static_cast<uint32_t>(flags->protocol_version);
  NodeOptions& options = flags->options;
  absl::Status parsed;
  if (!flags->initial_cluster.empty()) {
    parsed = ParseCluster("--initial-cluster", flags->initial_cluster, &options.initial_cluster);
  }
  if (parsed.ok() && !flags->peer_addresses.empty()) {
    parsed = ParseCluster("--peer-addresses", flags->peer_addresses, &options.peer_addresses);
  }
  if (!flags->join.empty()) options.join = ParseAddresses(flags->join);
  return parsed.ok() ? options.Validate() : parsed;
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

// Waits for signals to stop, on a thread of its own: the first asks the node to, the second lets it
// wait for nobody. A process whose node has not started yet just ends.
class SignalThread {
 public:
  SignalThread(const sigset_t& signals, StopGuard* guard, Logger* logger)
      : signals_(signals), guard_(guard), logger_(logger), thread_([this] { Run(); }) {}
  ~SignalThread() {
    pthread_kill(thread_.native_handle(), SIGUSR1);
    thread_.join();
  }
  SignalThread(const SignalThread&) = delete;
  SignalThread& operator=(const SignalThread&) = delete;

  // The node outlives this.
  void SetNode(Node* node) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    node_ = node;
  }

 private:
  void Run() {
    for (int count = 0;; ++count) {
      int signal = 0;
      sigwait(&signals_, &signal);
      if (signal == SIGUSR1) return;
      logger_->Event(LogLevel::kInfo, count == 0 ? "stopping" : "stopping_at_once",
                     {{"signal", strsignal(signal)}});
      OnSignal(count);
    }
  }

  void OnSignal(int count) ABSL_LOCKS_EXCLUDED(mu_) {
    MutexLock lock(&mu_);
    if (node_ == nullptr) std::_Exit(0);
    if (count == 0) {
      node_->RequestStop();
    } else {
      guard_->Allow(kHurry);
      node_->Hurry();
    }
  }

  const sigset_t signals_;
  StopGuard* const guard_;
  Logger* const logger_;
  Mutex mu_;
  Node* node_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::thread thread_;
};

int Serve(const NodeOptions& options, const sigset_t& signals, StopGuard* guard, Logger* logger) {
  absl::StatusOr<std::unique_ptr<Node>> node = absl::UnknownError("not started");
  SignalThread signal_thread(signals, guard, logger);
  node = Node::Start(options, logger);
  if (!node.ok()) {
    // Wrong set-up, as opposed to trouble with what is stored.
    const bool usage = absl::IsInvalidArgument(node.status()) ||
                       absl::IsFailedPrecondition(node.status()) ||
                       absl::IsPermissionDenied(node.status());
    return Fail(node.status(), usage ? kExitUsage : kExitFailed);
  }
  signal_thread.SetNode(node->get());
  (void)(*node)->WaitUntilStopped();
  const CoreOptions& core = options.replica.core;
  guard->Allow(kStopLimit + std::chrono::milliseconds(2 * core.election_ticks_max * core.tick_ms));
  (*node)->Stop();
  const absl::Status reason = (*node)->WaitUntilStopped();
  if (reason.ok()) return 0;
  logger->Event(LogLevel::kError, "fatal", {{"text", MessageAndHintOf(reason)}});
  return kExitFailed;
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
  StopGuard guard(flags.options.data_directory, logger->get());
  return Serve(flags.options, signals, &guard, logger->get());
}

}  // namespace
}  // namespace skein

int main(int argc, char** argv) { return skein::Run(argc, argv); }
