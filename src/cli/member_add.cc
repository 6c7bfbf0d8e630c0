#include <fmt/format.h>

#include "cli/member.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct AddFlags {
  std::string id;
  std::string address;
  std::string data_directory = "/var/lib/skein";
  bool promote = false;
  bool learner = false;  // for good
  std::string upstream;
  bool wait = false;
  double wait_seconds = 0;
};

bool IsAsAsked(const ClusterMember& member, const AddFlags& flags) {
  return member.never_votes == flags.learner && member.upstream_id == flags.upstream;
}

// OK also if it is a member already, at that address and of that kind: then *already is set.
absl::StatusOr<ClusterMembers> Add(Client* client, const Globals& globals, const AddFlags& flags,
                                   bool* already) {
  auto added = ChangeMembers(client, globals, [&] {
    return client->AddMember(flags.id, flags.address,
                             {.promote_when_level = flags.promote,
                              .never_votes = flags.learner,
                              .upstream_id = flags.upstream,
                              .deadline = globals.Timeout()});
  });
  if (!absl::IsAlreadyExists(added.status())) return added;
  auto members = client->Members(globals.Timeout());
  if (!members.ok()) return added;
  const ClusterMember* member = members->Find(flags.id);
  const bool same = member != nullptr && member->address == flags.address;
  if (!same || !IsAsAsked(*member, flags)) return added;
  *already = true;
  return members;
}

void TellAdded(const Globals& globals, const ClusterMembers& members, const AddFlags& flags,
               bool already) {
  const ClusterMember& member = *members.Find(flags.id);
  const std::string command = JoinCommand(members, member, flags.data_directory);
  const bool runs = !member.incarnation.empty();
  switch (ListOutput(globals)) {
    case Output::kJson:
      if (!flags.wait) {
        nlohmann::ordered_json json = MembersJson(members);
        json["join_command"] = command;
        PrintJson(json);
      } else if (!runs) {
        fmt::print(stderr, "start {} with: {}\n", flags.id, command);
      }
      break;
    case Output::kPlain:
      fmt::print("{}\n", command);
      break;
    case Output::kDefault:
    case Output::kTable:
      fmt::print("{} is a member{}{}\n", flags.id, already ? " already" : "",
                 member.voter ? "" : ", as a learner");
      if (!runs) fmt::print("Start it on its machine:\n  {}\n", command);
  }
  std::fflush(stdout);
}

int RunAdd(const Globals& globals, const AddFlags& flags) {
  const std::unique_ptr<Client> client = globals.Connect();
  bool already = false;
  const auto added = Add(client.get(), globals, flags, &already);
  if (!added.ok()) return FailChange(globals, "member add", added.status());
  if (!IsAsAsked(*added->Find(flags.id), flags)) {
    return FailChange(
        globals, "member add",
        MakeError(
            absl::StatusCode::kUnimplemented,
            "the leader's software is too old: it added " + flags.id + " as a plain learner",
            {.hint = fmt::format("remove it by `skein member remove {}`, upgrade skeind on all "
                                 "nodes, and try again",
                                 flags.id)}));
  }
  TellAdded(globals, *added, flags, already);
  if (!flags.wait) return kExitDone;
  CatchInterrupt();
  Progress progress;
  const absl::Status level = AwaitLevel(
      client.get(), globals,
      {.id = flags.id, .voter = flags.promote, .timeout_seconds = flags.wait_seconds}, &progress);
  progress.Clear();
  if (level.ok()) return TellLevel(globals, client.get(), flags.id);
  if (absl::IsCancelled(level)) {
    fmt::print(stderr,
               "skein: interrupted; {} stays a member and goes on catching up. The same command "
               "waits again.\n",
               flags.id);
    return kExitFailed;
  }
  return FailChange(globals, "member add --wait", level);
}

}  // namespace

void AddMemberAdd(CLI::App* member, Globals* globals) {
  auto flags = std::make_shared<AddFlags>();
  CLI::App* command =
      member->add_subcommand("add", "Add a node as a learner; prints the command that starts it");
  AddNodeArgument(command, "NODE", &flags->id, "name of the new member");
  AddAddressArgument(command, &flags->address, "where it will be reached");
  command->add_flag("--promote-when-caught-up", flags->promote,
                    "make it a voter as soon as it is level");
  command
      ->add_flag("--learner", flags->learner,
                 "it stays a learner for good, as a replica for reads; it is never promoted")
      ->excludes("--promote-when-caught-up");
  command
      ->add_option("--upstream", flags->upstream,
                   "a member; it takes from that one what need not come from the leader")
      ->check(CheckNode);
  auto* wait = command->add_flag("--wait", flags->wait, "wait until it is level (and promoted)");
  command->add_option("--wait-timeout", flags->wait_seconds, "seconds to wait at most; 0: for ever")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9))
      ->needs(wait);
  command
      ->add_option("--data-dir", flags->data_directory,
                   "what the printed command has as its data directory")
      ->capture_default_str();
  command->footer(
      "Ctrl-C ends the waiting, not the catching up; the same command waits again.\n"
      "Examples:\n"
      "  skein member add n4 10.0.0.4:7411\n"
      "  skein member add n4 10.0.0.4:7411 --learner --upstream n2\n"
      "  skein member add n4 10.0.0.4:7411 --promote-when-caught-up --wait");
  command->callback([=] { globals->run = [=] { return RunAdd(*globals, *flags); }; });
}

}  // namespace skein::cli
