#include <fmt/format.h>

#include "cli/command.h"
#include "cli/status.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

constexpr std::chrono::milliseconds kStatusTimeout(500);

struct LagFlags {
  bool watch = false;
  double interval_seconds = 1;
};

void PrintLag(const Globals& globals, const ClusterStatus& cluster) {
  nlohmann::ordered_json followers = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {
      {"NODE", "ROLE", "REVISION", "LAG", "LAG BYTES", "LAG MS"}};
  for (const NodeStatus& node : cluster.nodes) {
    if (node.id == cluster.leader_id) continue;
    const auto lag = LagColumns(node);
    rows.push_back({node.id, RoleName(node),
                    node.reachable ? std::to_string(node.applied_revision) : "-", lag[0], lag[1],
                    lag[2]});
    followers.push_back({{"id", node.id},
                         {"role", RoleName(node)},
                         {"reachable", node.reachable},
                         {"lag", LagJson(node)}});
  }
  nlohmann::ordered_json json;
  json["leader"] = nullptr;
  if (!cluster.leader_id.empty()) json["leader"] = cluster.leader_id;
  json["followers"] = std::move(followers);
  switch (ListOutput(globals)) {
    case Output::kJson:
      PrintJson(json);
      break;
    case Output::kPlain:
      for (size_t i = 1; i < rows.size(); ++i) {
        fmt::print("{} {} revision={} lag={} lag_bytes={} lag_ms={}\n", rows[i][0], rows[i][1],
                   rows[i][2], rows[i][3], rows[i][4], rows[i][5]);
      }
      break;
    case Output::kDefault:
    case Output::kTable:
      PrintTable(rows);
  }
  std::fflush(stdout);
}

int RunLag(const Globals& globals, const LagFlags& flags) {
  const std::unique_ptr<Client> client = globals.Connect();
  if (flags.watch) CatchInterrupt();
  int code = kExitDone;
  do {
    const auto cluster = client->Status(std::min(kStatusTimeout, globals.Timeout()));
    if (cluster.ok()) {
      PrintLag(globals, *cluster);
      code = cluster->leader_id.empty() ? kExitFailed : kExitDone;
      if (code != kExitDone) fmt::print(stderr, "skein: no node leads, so no lag is known\n");
    } else {
      code = Fail(globals, "lag", cluster.status());
    }
    if (flags.watch && !Interrupted()) Pause(flags.interval_seconds);
  } while (flags.watch && !Interrupted() && std::ferror(stdout) == 0);
  return Interrupted() ? kExitDone : code;
}

}  // namespace

void AddLag(CLI::App* app, Globals* globals) {
  auto flags = std::make_shared<LagFlags>();
  CLI::App* command = app->add_subcommand("lag", "How far each follower is behind the leader");
  command->add_flag("--watch", flags->watch, "print again and again until Ctrl-C");
  command->add_option("--interval", flags->interval_seconds, "seconds between two prints")
      ->capture_default_str()
      ->check(CLI::Range(0.05, 3600.0));
  command->footer(
      "Examples:\n"
      "  skein lag\n"
      "  skein lag --watch --interval 0.5 --output json");
  command->callback([=] { globals->run = [=] { return RunLag(*globals, *flags); }; });
}

}  // namespace skein::cli
