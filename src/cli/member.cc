#include "cli/member.h"

#include <fmt/format.h>
#include <unistd.h>

#include "cli/text.h"

namespace skein::cli {
namespace {

const char* KindOf(const ClusterMember& member) {
  if (member.voter) return "voter";
  if (member.never_votes) return "learner for good";
  return member.promote_when_level ? "learner, to be promoted" : "learner";
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

// Upstreams have a column only if there are any.
std::vector<std::vector<std::string>> Rows(const ClusterMembers& members) {
  std::vector<std::vector<std::string>> rows = {{"NODE", "ADDRESS", "KIND", "DATA"}};
  bool upstreams = false;
  for (const ClusterMember& member : members.members) {
    rows.push_back({member.id, member.address, KindOf(member), OrDash(member.incarnation)});
    upstreams = upstreams || !member.upstream_id.empty();
  }
  if (!upstreams) return rows;
  rows[0].push_back("UPSTREAM");
  for (size_t i = 0; i < members.members.size(); ++i) {
    rows[i + 1].push_back(OrDash(members.members[i].upstream_id));
  }
  return rows;
}

int RunList(const Globals& globals) {
  const auto members = globals.Connect()->Members(globals.Timeout());
  if (!members.ok()) return Fail(globals, "member list", members.status());
  switch (ListOutput(globals)) {
    case Output::kJson:
      PrintJson(MembersJson(*members));
      return kExitDone;
    case Output::kPlain:
      for (const ClusterMember& member : members->members) {
        fmt::print("{} {} {} promote_when_level={} incarnation={} never_votes={} upstream={}\n",
                   member.id, member.address, member.voter ? "voter" : "learner",
                   member.promote_when_level ? "yes" : "no", OrDash(member.incarnation),
                   member.never_votes ? "yes" : "no", OrDash(member.upstream_id));
      }
      return kExitDone;
    case Output::kDefault:
    case Output::kTable:
      break;
  }
  PrintTable(Rows(*members));
  fmt::print("{}\n", VotersWords(*members));
  if (!members->committed) {
    fmt::print(stderr, "skein: a change is under way: this is not settled yet\n");
  }
  return kExitDone;
}

// What a change has done: a sentence for people, words for scripts, the members for programs.
int Tell(const Globals& globals, const ClusterMembers& members, const std::string& sentence,
         const std::string& words) {
  switch (ListOutput(globals)) {
    case Output::kJson:
      PrintJson(MembersJson(members));
      break;
    case Output::kPlain:
      fmt::print("{}\n", words);
      break;
    case Output::kDefault:
    case Output::kTable:
      fmt::print("{}\n", sentence);
  }
  return kExitDone;
}

// A change that has been made before is as good as one that is made now.
template <typename Predicate>
absl::StatusOr<ClusterMembers> OrAlreadySo(Client* client, const Globals& globals,
                                           absl::StatusOr<ClusterMembers> changed,
                                           const Predicate& already_so) {
  if (!absl::IsAlreadyExists(changed.status())) return changed;
  auto members = client->Members(globals.Timeout());
  return members.ok() && already_so(*members) ? members : changed;
}

int RunPromote(const Globals& globals, const std::string& id) {
  const std::unique_ptr<Client> client = globals.Connect();
  const auto changed =
      OrAlreadySo(client.get(), globals,
                  ChangeMembers(client.get(), globals,
                                [&] { return client->PromoteMember(id, globals.Timeout()); }),
                  [&](const ClusterMembers& members) {
                    return members.Find(id) != nullptr && members.Find(id)->voter;
                  });
  if (!changed.ok()) return FailChange(globals, "member promote", changed.status());
  return Tell(globals, *changed, fmt::format("{} is a voter: {}", id, VotersWords(*changed)),
              "promoted " + id);
}

struct UpstreamFlags {
  std::string id;
  std::string upstream;  // as it was given: a node, or `none`
};

int RunUpstream(const Globals& globals, const UpstreamFlags& flags) {
  const std::string upstream = flags.upstream == "none" ? "" : flags.upstream;
  const std::unique_ptr<Client> client = globals.Connect();
  const auto changed = OrAlreadySo(
      client.get(), globals,
      ChangeMembers(client.get(), globals,
                    [&] { return client->SetUpstream(flags.id, upstream, globals.Timeout()); }),
      [&](const ClusterMembers& members) {
        return members.Find(flags.id) != nullptr && members.Find(flags.id)->upstream_id == upstream;
      });
  if (!changed.ok()) return FailChange(globals, "member upstream", changed.status());
  return Tell(globals, *changed,
              upstream.empty() ? flags.id + " has no upstream: the leader decides who feeds it"
                               : fmt::format("{} takes from {} what need not come from the leader",
                                             flags.id, upstream),
              fmt::format("upstream {} {}", flags.id, flags.upstream));
}

struct RemoveFlags {
  std::string id;
  bool force = false;
  bool yes = false;
};

int RunRemove(const Globals& globals, const RemoveFlags& flags) {
  if (flags.force && !flags.yes) {
    if (isatty(STDIN_FILENO) == 0) {
      return FailUsage("--force can cost acknowledged writes; say --yes to mean it");
    }
    const std::string question = fmt::format(
        "Remove {} even if those who are left cannot form a quorum now? What only {} has is lost.",
        flags.id, flags.id);
    if (!Confirmed(question)) {
      fmt::print(stderr, "skein: nothing was changed\n");
      return kExitFailed;
    }
  }
  const std::unique_ptr<Client> client = globals.Connect();
  const auto changed = ChangeMembers(client.get(), globals, [&] {
    return client->RemoveMember(flags.id, {.force = flags.force, .deadline = globals.Timeout()});
  });
  if (!changed.ok()) return FailChange(globals, "member remove", changed.status());
  return Tell(globals, *changed,
              fmt::format("{} is removed: {}\nStop it if it still runs; the cluster needs its data "
                          "no more.",
                          flags.id, VotersWords(*changed)),
              "removed " + flags.id);
}

struct MoveFlags {
  std::string id;
  std::string address;
};

int RunMove(const Globals& globals, const MoveFlags& flags) {
  const std::unique_ptr<Client> client = globals.Connect();
  const auto changed = OrAlreadySo(
      client.get(), globals,
      ChangeMembers(client.get(), globals,
                    [&] { return client->MoveMember(flags.id, flags.address, globals.Timeout()); }),
      [&](const ClusterMembers& members) {
        return members.Find(flags.id) != nullptr &&
               members.Find(flags.id)->address == flags.address;
      });
  if (!changed.ok()) return FailChange(globals, "member move", changed.status());
  return Tell(globals, *changed,
              fmt::format("{} is at {} from now on: start it there, with its data, and with "
                          "--listen {}",
                          flags.id, flags.address, flags.address),
              fmt::format("moved {} {}", flags.id, flags.address));
}

void AddPromote(CLI::App* member, Globals* globals) {
  auto id = std::make_shared<std::string>();
  CLI::App* command = member->add_subcommand("promote", "Make a learner that is level a voter");
  AddNodeArgument(command, "NODE", id.get(), "the learner");
  command->footer("Example:\n  skein member promote n4");
  command->callback([=] { globals->run = [=] { return RunPromote(*globals, *id); }; });
}

void AddRemove(CLI::App* member, Globals* globals) {
  auto flags = std::make_shared<RemoveFlags>();
  CLI::App* command = member->add_subcommand(
      "remove", "Remove a member; refused if the others could not go on without it");
  AddNodeArgument(command, "NODE", &flags->id, "the member");
  command->add_flag("--force", flags->force,
                    "even if those who are left cannot form a quorum now; asks first");
  command->add_flag("--yes", flags->yes, "do not ask");
  command->footer("Examples:\n  skein member remove n2\n  skein member remove n2 --force --yes");
  command->callback([=] { globals->run = [=] { return RunRemove(*globals, *flags); }; });
}

void AddMove(CLI::App* member, Globals* globals) {
  auto flags = std::make_shared<MoveFlags>();
  CLI::App* command =
      member->add_subcommand("move", "Say where a member is to be found from now on");
  AddNodeArgument(command, "NODE", &flags->id, "the member");
  AddAddressArgument(command, &flags->address, "its new address");
  command->footer("Example:\n  skein member move n2 10.0.0.12:7411");
  command->callback([=] { globals->run = [=] { return RunMove(*globals, *flags); }; });
}

void AddUpstream(CLI::App* member, Globals* globals) {
  auto flags = std::make_shared<UpstreamFlags>();
  CLI::App* command = member->add_subcommand(
      "upstream", "Say from whom a member takes what need not come from the leader");
  AddNodeArgument(command, "NODE", &flags->id, "the member");
  AddNodeArgument(command, "UPSTREAM", &flags->upstream, "another member, or none");
  command->footer(
      "A learner takes the log from its upstream as long as that works, any member its snapshots.\n"
      "Examples:\n"
      "  skein member upstream n4 n2\n"
      "  skein member upstream n4 none");
  command->callback([=] { globals->run = [=] { return RunUpstream(*globals, *flags); }; });
}

}  // namespace

void AddMember(CLI::App* app, Globals* globals) {
  CLI::App* member = app->add_subcommand("member", "Show and change who belongs to the cluster");
  member->require_subcommand(1);
  CLI::App* list = member->add_subcommand("list", "The members, voters and learners");
  list->footer("Example:\n  skein member list");
  list->callback([=] { globals->run = [=] { return RunList(*globals); }; });
  AddMemberAdd(member, globals);
  AddPromote(member, globals);
  AddRemove(member, globals);
  AddMove(member, globals);
  AddUpstream(member, globals);
  AddMemberReplace(member, globals);
  AddMemberWait(member, globals);
  member->footer(
      "A new member is a learner: it receives everything and counts for no quorum until it is\n"
      "promoted. Changes are made one at a time; refused ones end with exit code 3.\n"
      "Examples:\n"
      "  skein member list\n"
      "  skein member add n4 10.0.0.4:7411 --promote-when-caught-up --wait\n"
      "  skein member replace n2 n5 10.0.0.5:7411");
}

}  // namespace skein::cli
