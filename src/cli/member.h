// What the commands of `skein member` share.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "skein/client.h"

namespace skein::cli {

void AddMemberAdd(CLI::App* member, Globals* globals);
void AddMemberWait(CLI::App* member, Globals* globals);
void AddMemberReplace(CLI::App* member, Globals* globals);

// What is wrong with the name of a node; empty: nothing.
std::string CheckNode(const std::string& id);
// Arguments that several of them take.
void AddNodeArgument(CLI::App* command, const std::string& name, std::string* id,
                     const std::string& help);
void AddAddressArgument(CLI::App* command, std::string* address, const std::string& help);

// Makes a change. If another one is under way, waits for its end first, within the timeout.
absl::StatusOr<ClusterMembers> ChangeMembers(
    Client* client, const Globals& globals,
    const std::function<absl::StatusOr<ClusterMembers>()>& change);
// Says what failed, and what to do; returns the exit code. `look`: the command that shows what has
// come of a change whose outcome is unknown.
int FailChange(const Globals& globals, const std::string& what, const absl::Status& status,
               const std::string& look = "skein member list");

nlohmann::ordered_json MembersJson(const ClusterMembers& members);
// `3 voters, of which 1 may fail`
std::string VotersWords(const ClusterMembers& members);

// The command that starts a new member.
std::string JoinCommand(const ClusterMembers& members, const ClusterMember& member,
                        const std::string& data_directory);

// A member that is waited for.
struct Awaited {
  std::string id;
  bool voter = false;          // until it votes; it is promoted if nobody else does
  double timeout_seconds = 0;  // 0: for ever
};
// Waits until the member is level, and shows how far it is. CANCELLED: interrupted by Ctrl-C;
// NOT_FOUND: it is a member no longer; DEADLINE_EXCEEDED: the time is over, and what was missing.
absl::Status AwaitLevel(Client* client, const Globals& globals, const Awaited& awaited,
                        Progress* progress);
// Says that a member is level; returns the exit code.
int TellLevel(const Globals& globals, Client* client, const std::string& id);

}  // namespace skein::cli
