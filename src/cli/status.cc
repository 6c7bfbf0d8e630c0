#include "cli/status.h"

#include <fmt/format.h>

#include "cli/catch_up.h"
#include "cli/command.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

constexpr std::chrono::milliseconds kStatusTimeout(500);

std::vector<std::string> Row(const NodeStatus& node) {
  std::vector<std::string> row = {node.id,
                                  RoleName(node),
                                  node.reachable ? std::to_string(node.term) : "-",
                                  node.address,
                                  node.reachable ? "yes" : "no",
                                  node.reachable ? std::to_string(node.applied_revision) : "-"};
  for (const std::string& lag : LagColumns(node)) row.push_back(lag);
  row.push_back(node.member && node.voter ? "yes" : "no");
  return row;
}

std::vector<std::vector<std::string>> Rows(const ClusterStatus& cluster) {
  std::vector<std::vector<std::string>> rows = {{"NODE", "ROLE", "TERM", "ADDRESS", "REACHABLE",
                                                 "REVISION", "LAG", "LAG BYTES", "LAG MS",
                                                 "VOTER"}};
  for (const NodeStatus& node : cluster.nodes) rows.push_back(Row(node));
  return rows;
}

// What the newest node speaks; 0: none answered.
uint32_t NewestVersion(const ClusterStatus& cluster) {
  uint32_t newest = 0;
  for (const NodeStatus& node : cluster.nodes) {
    if (node.reachable) newest = std::max(newest, node.protocol_version);
  }
  return newest;
}

// Who sends the log to a learner that has an upstream; empty: nothing to say.
std::string FedByWords(const NodeStatus& node) {
  if (node.fed_by_id.empty() || !node.connected) return "";
  const bool stand_in = node.fed_by_id != node.upstream_id;
  return fmt::format("{} is fed by {}{}", node.id, node.fed_by_id,
                     stand_in ? " in place of its upstream, " + node.upstream_id : "");
}

bool IsOld(const NodeStatus& node, uint32_t newest) {
  return node.reachable && node.protocol_version < newest;
}

int RunStatus(const Globals& globals) {
  const auto cluster = globals.Connect()->Status(std::min(kStatusTimeout, globals.Timeout()));
  if (!cluster.ok()) return Fail(globals, "status", cluster.status());
  const uint32_t newest = NewestVersion(*cluster);
  switch (ListOutput(globals)) {
    case Output::kJson:
      PrintJson(StatusJson(*cluster));
      break;
    case Output::kPlain:
      for (const NodeStatus& node : cluster->nodes) {
        const auto row = Row(node);
        fmt::print(
            "{} {} term={} address={} reachable={} revision={} lag={} lag_bytes={} lag_ms={} "
            "voter={}{}{}{}\n",
            row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9],
            CatchUpPlain(node),
            node.fed_by_id.empty()
                ? ""
                : fmt::format(" upstream={} fed_by={}", node.upstream_id, node.fed_by_id),
            IsOld(node, newest) ? fmt::format(" protocol_version={}", node.protocol_version) : "");
      }
      break;
    case Output::kDefault:
    case Output::kTable:
      PrintTable(Rows(*cluster));
      for (const NodeStatus& node : cluster->nodes) {
        if (node.catch_up.has_value() && node.connected) {
          fmt::print("{} {}\n", node.id, CatchUpWords(*node.catch_up));
        }
        const std::string fed_by = FedByWords(node);
        if (!fed_by.empty()) fmt::print("{}\n", fed_by);
        if (IsOld(node, newest)) {
          fmt::print("{} speaks protocol version {}, others {}: upgrade it\n", node.id,
                     node.protocol_version, newest);
        }
      }
  }
  if (!cluster->leader_id.empty()) return kExitDone;
  fmt::print(stderr, "skein: no node leads: writes are refused until one is elected\n");
  return kExitFailed;
}

}  // namespace

const char* RoleName(const NodeStatus& node) {
  if (!node.reachable) return "unreachable";
  if (!node.member) return "removed";
  switch (node.role) {
    case NodeRole::kLeader:
      return "leader";
    case NodeRole::kLearner:
      return "learner";
    case NodeRole::kCandidate:
      return "candidate";
    case NodeRole::kFollower:
    case NodeRole::kUnknown:
      break;
  }
  return "follower";
}

std::vector<std::string> LagColumns(const NodeStatus& node) {
  if (!node.lag.has_value()) return {"-", "-", "-"};
  return {std::to_string(node.lag->revisions), std::to_string(node.lag->bytes),
          std::to_string(node.lag->milliseconds)};
}

nlohmann::ordered_json LagJson(const NodeStatus& node) {
  if (!node.lag.has_value()) return nullptr;
  return {{"revisions", node.lag->revisions},
          {"bytes", node.lag->bytes},
          {"milliseconds", node.lag->milliseconds}};
}

nlohmann::ordered_json StatusJson(const ClusterStatus& cluster) {
  nlohmann::ordered_json json;
  json["leader"] = nullptr;
  if (!cluster.leader_id.empty()) json["leader"] = cluster.leader_id;
  json["term"] = cluster.term;
  json["nodes"] = nlohmann::ordered_json::array();
  for (const NodeStatus& node : cluster.nodes) {
    nlohmann::ordered_json one;
    one["id"] = node.id;
    one["role"] = RoleName(node);
    one["address"] = node.address;
    one["reachable"] = node.reachable;
    one["revision"] = nullptr;
    if (node.reachable) one["revision"] = node.applied_revision;
    one["lag"] = LagJson(node);
    one["member"] = node.member;
    one["voter"] = node.member && node.voter;
    one["connected"] = node.connected;
    one["catch_up"] = CatchUpJson(node);
    one["upstream"] = nullptr;
    if (!node.upstream_id.empty()) one["upstream"] = node.upstream_id;
    one["fed_by"] = nullptr;
    if (!node.fed_by_id.empty()) one["fed_by"] = node.fed_by_id;
    one["protocol_version"] = nullptr;
    if (node.reachable) one["protocol_version"] = node.protocol_version;
    json["nodes"].push_back(std::move(one));
  }
  return json;
}

void AddStatus(CLI::App* app, Globals* globals) {
  CLI::App* command =
      app->add_subcommand("status", "Ask every node how it is; exit code 1 if none leads");
  command->footer(
      "LAG counts revisions that the leader has committed and the node has not applied.\n"
      "Of a member that is far behind it says how it is brought level, and how long that takes.\n"
      "Examples:\n"
      "  skein status\n"
      "  skein status --endpoints 127.0.0.1:7412 --output json");
  command->callback([=] { globals->run = [=] { return RunStatus(*globals); }; });
}

}  // namespace skein::cli
