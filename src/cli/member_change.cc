#include <fmt/format.h>

#include <algorithm>

#include "cli/member.h"

namespace skein::cli {
namespace {

constexpr double kLookSeconds = 0.1;

}  // namespace

std::string CheckNode(const std::string& id) {
  const auto allowed = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  if (!id.empty() && std::all_of(id.begin(), id.end(), allowed)) return "";
  return "'" + id + "' is not the name of a node, as n4";
}

void AddNodeArgument(CLI::App* command, const std::string& name, std::string* id,
                     const std::string& help) {
  command->add_option(name, *id, help)->required()->check(CheckNode);
}

void AddAddressArgument(CLI::App* command, std::string* address, const std::string& help) {
  command->add_option("HOST:PORT", *address, help)->required()->check(CheckAddress);
}

absl::StatusOr<ClusterMembers> ChangeMembers(
    Client* client, const Globals& globals,
    const std::function<absl::StatusOr<ClusterMembers>()>& change) {
  const auto until = std::chrono::steady_clock::now() + globals.Timeout();
  bool alone = false;  // no other change was under way when last seen
  while (true) {
    absl::StatusOr<ClusterMembers> changed = change();
    if (!absl::IsFailedPrecondition(changed.status()) || alone) return changed;
    // What was in the way may be settled by now: a refusal counts if nothing was in the way before.
    const auto members = client->Members(globals.Timeout());
    if (!members.ok() || Interrupted() || std::chrono::steady_clock::now() >= until) return changed;
    alone = members->committed;
    if (!alone) Pause(kLookSeconds);
  }
}

int FailChange(const Globals& globals, const std::string& what, const absl::Status& status,
               const std::string& look) {
  ErrorDetail detail = DetailOf(status);
  if (detail.maybe_applied) {
    detail.hint = fmt::format("see `{}` before you try again", look);
  } else if (detail.hint.empty() && absl::IsNotFound(status)) {
    detail.hint = "see `skein member list` for who there is";
  }
  const int code = Fail(globals, what, MakeError(status.code(), MessageOf(status), detail));
  const bool refused = absl::IsNotFound(status) || absl::IsAlreadyExists(status) ||
                       absl::IsFailedPrecondition(status);
  return refused ? kExitNotFound : code;
}

nlohmann::ordered_json MembersJson(const ClusterMembers& members) {
  nlohmann::ordered_json json;
  json["cluster_id"] = members.cluster_id;
  json["cluster_token"] = members.cluster_token;
  json["membership_index"] = members.index;
  json["committed"] = members.committed;
  json["members"] = nlohmann::ordered_json::array();
  for (const ClusterMember& member : members.members) {
    nlohmann::ordered_json one = {{"id", member.id},
                                  {"address", member.address},
                                  {"voter", member.voter},
                                  {"promote_when_level", member.promote_when_level},
                                  {"incarnation", nullptr}};
    if (!member.incarnation.empty()) one["incarnation"] = member.incarnation;
    one["never_votes"] = member.never_votes;
    one["upstream"] = nullptr;
    if (!member.upstream_id.empty()) one["upstream"] = member.upstream_id;
    json["members"].push_back(std::move(one));
  }
  return json;
}

std::string VotersWords(const ClusterMembers& members) {
  const auto voters = std::count_if(members.members.begin(), members.members.end(),
                                    [](const ClusterMember& member) { return member.voter; });
  const auto spare = (voters - 1) / 2;
  return fmt::format("{} voter{}, of which {} may fail", voters, voters == 1 ? "" : "s",
                     spare == 0 ? std::string("none") : std::to_string(spare));
}

std::string JoinCommand(const ClusterMembers& members, const ClusterMember& member,
                        const std::string& data_directory) {
  std::string others;
  for (const ClusterMember& other : members.members) {
    if (other.id == member.id || !other.voter) continue;
    others += (others.empty() ? "" : ",") + other.address;
  }
  return fmt::format("skeind --id {} --data-dir {} --listen {} --join {}", member.id,
                     data_directory, member.address, others);
}

}  // namespace skein::cli
