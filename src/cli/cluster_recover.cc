// `skein cluster recover`: after the loss of a majority one survivor goes on alone. Works on its
// data directory, while its process is stopped.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "cli/command.h"
#include "cli/offline.h"
#include "cli/text.h"
#include "common/clock.h"
#include "common/error.h"
#include "storage/new_quorum.h"

namespace skein::cli {
namespace {

struct RecoverFlags {
  std::string data_directory;
  bool force = false;
  bool accept_lost = false;
  bool dry_run = false;
  bool yes = false;
};

std::string PositionText(const Position& at) {
  return fmt::format("{}/{}", at.term.value(), at.index.value());
}

std::vector<Member> GivenUp(const Survivor& survivor) {
  std::vector<Member> others = survivor.membership.members;
  std::erase_if(others,
                [&](const Member& member) { return member.id == survivor.identity.node_id; });
  std::sort(others.begin(), others.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  return others;
}

std::string Hex(uint64_t number) { return fmt::format("{:016x}", number); }

nlohmann::ordered_json Json(const Survivor& survivor, const absl::Status& allowed) {
  nlohmann::ordered_json json;
  json["node"] = survivor.identity.node_name;
  json["cluster_token"] = survivor.identity.cluster_token;
  json["cluster_id"] = Hex(survivor.identity.cluster_id);
  json["history"] = nullptr;
  if (survivor.identity.history != 0) json["history"] = Hex(survivor.identity.history);
  json["recovery_unfinished"] = survivor.identity.recovery_unfinished;
  json["last_term"] = survivor.last.at.term.value();
  json["last_index"] = survivor.last.at.index.value();
  json["last_revision"] = survivor.last.revision.value();
  json["current_term"] = survivor.term.value();
  json["committed_index"] = survivor.committed.value();
  json["uncommitted_commands"] = survivor.uncommitted_commands;
  json["acknowledged_index"] = survivor.acknowledged.value();
  json["lost_entries"] = survivor.HasLostEntries();
  json["given_up"] = nlohmann::ordered_json::array();
  for (const Member& member : GivenUp(survivor)) {
    json["given_up"].push_back(
        {{"id", member.name}, {"address", member.address}, {"voter", member.voter}});
  }
  json["refused"] = nullptr;
  if (!allowed.ok()) json["refused"] = MessageOf(allowed);
  return json;
}

void PrintFacts(const Survivor& survivor) {
  const Identity& identity = survivor.identity;
  fmt::print("node:             {}\n", identity.node_name);
  fmt::print("cluster:          {} ({})\n", identity.cluster_token, Hex(identity.cluster_id));
  std::string others;
  for (const Member& member : GivenUp(survivor)) {
    others += fmt::format("{}{} ({}{})", others.empty() ? "" : ", ", member.name, member.address,
                          member.voter ? "" : ", a learner");
  }
  fmt::print("given up:         {}\n", others.empty() ? "nobody" : others);
  fmt::print("last term/index:  {}\n", PositionText(survivor.last.at));
  fmt::print("last revision:    {}\n", survivor.last.revision.value());
  fmt::print("known committed:  up to index {}\n", survivor.committed.value());
  if (survivor.HasLostEntries()) {
    fmt::print("damaged:          the log has lost its end; it was acknowledged up to index {}\n",
               survivor.acknowledged.value());
  }
}

void PrintConsequences(const Survivor& survivor) {
  const std::string& name = survivor.identity.node_name;
  if (survivor.identity.recovery_unfinished) {
    fmt::print(
        "\nA recovery was begun here and not finished: only the same command again helps, "
        "with --force-new-quorum.\n");
  }
  fmt::print(
      "\n--force-new-quorum makes {} the only voter, in a new history of the cluster:\n"
      "- Lost for ever is what was acknowledged by the others and never reached {}. Nobody can "
      "tell how much that is.\n",
      name, name);
  const uint64_t tail =
      survivor.last.at.index - std::min(survivor.committed, survivor.last.at.index);
  fmt::print(
      "- Not known to be committed are the last {} entries of its log, with commands: {}. They "
      "become so, although perhaps nobody was told that they succeeded.\n",
      tail, survivor.uncommitted_commands);
  fmt::print(
      "- All given up nodes are refused from then on, for good. They come back with an empty data "
      "directory, by `skein member add`.\n"
      "- It cannot be undone: keep a copy of the data directory.\n"
      "Before: see to it that none of the others runs. Run this without --force-new-quorum on "
      "every survivor, and take the one with the highest last term; of the same term, the highest "
      "index.\n");
}

// The whole name, so that no habit of typing y does it.
bool ConfirmedByName(const Survivor& survivor) {
  fmt::print(stderr,
             "\nType the name of the cluster ({}) to go on: ", survivor.identity.cluster_token);
  std::fflush(stderr);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == survivor.identity.cluster_token;
}

int TellDone(const Globals& globals, const Survivor& survivor) {
  if (globals.output == Output::kJson) {
    PrintJson({{"recovered", survivor.identity.node_name},
               {"cluster_id", Hex(survivor.identity.cluster_id)},
               {"history", Hex(survivor.identity.history)},
               {"last_term", survivor.last.at.term.value()},
               {"last_index", survivor.last.at.index.value()}});
    return kExitDone;
  }
  fmt::print(
      "{} is the only voter of cluster {} ({}) now\n"
      "Start it with the command that it was always started with. Then add nodes, each with an "
      "empty data directory: skein member add\n",
      survivor.identity.node_name, survivor.identity.cluster_token,
      Hex(survivor.identity.cluster_id));
  return kExitDone;
}

int Refuse(const absl::Status& refused, const Survivor& survivor) {
  const int code = FailOffline("cluster recover", refused);
  if (survivor.HasLostEntries()) {
    fmt::print(stderr, "  what to do: if no better node is left, add --accept-lost-entries\n");
  }
  return code;
}

// The usual advice, to begin anew with what the others have, is of no use here.
absl::Status WithAdvice(const absl::Status& status) {
  if (!absl::IsDataLoss(status)) return status;
  return MakeError(status.code(), MessageOf(status),
                   {.reason = ErrorReason::kDamagedData,
                    .hint = "take another survivor, or restore the directory from a copy"});
}

int RunRecover(const Globals& globals, const RecoverFlags& flags) {
  ::umask(077);  // as skeind
  const std::string foreign = CheckOwner(flags.data_directory);
  if (!foreign.empty()) return FailUsage(foreign);
  auto quorum = NewQuorum::Open(StorageOptions(), flags.data_directory);
  if (!quorum.ok()) return FailOffline("cluster recover", WithAdvice(quorum.status()));
  const Survivor& survivor = (*quorum)->survivor();
  const absl::Status allowed = (*quorum)->Check(flags.accept_lost);
  const bool only_look = !flags.force || flags.dry_run;
  const bool json = globals.output == Output::kJson;
  if (json && only_look) PrintJson(Json(survivor, allowed));
  if (!json) PrintFacts(survivor);
  if (!allowed.ok()) {
    std::fflush(stdout);
    return json && only_look ? kExitNotFound : Refuse(allowed, survivor);
  }
  if (!json && (only_look || !flags.yes)) PrintConsequences(survivor);
  std::fflush(stdout);
  if (only_look) {
    if (!json) fmt::print("Nothing was changed.\n");
    return kExitDone;
  }
  if (!flags.yes && isatty(STDIN_FILENO) == 0) {
    return FailUsage("--force-new-quorum can cost acknowledged writes; say --yes to mean it");
  }
  if (!flags.yes && !ConfirmedByName(survivor)) {
    fmt::print(stderr, "skein: nothing was changed\n");
    return kExitFailed;
  }
  const absl::Status forced = (*quorum)->Force(flags.accept_lost, SystemClock().WallMillis());
  if (!forced.ok()) {
    FailOffline("cluster recover", WithAdvice(forced));
    fmt::print(stderr, "  what to do: mend that, and run the same command again\n");
    return kExitFailed;
  }
  return TellDone(globals, survivor);
}

}  // namespace

void AddCluster(CLI::App* app, Globals* globals) {
  CLI::App* cluster = app->add_subcommand("cluster", "Help a cluster that cannot help itself");
  cluster->require_subcommand(1);
  auto flags = std::make_shared<RecoverFlags>();
  CLI::App* recover = cluster->add_subcommand(
      "recover", "Go on with one stopped node when a majority of the voters is lost for ever");
  AddDataDirectory(recover, &flags->data_directory);
  recover->add_flag("--force-new-quorum", flags->force,
                    "make this node the only voter; without it, only say what that would mean");
  recover->add_flag("--accept-lost-entries", flags->accept_lost,
                    "also if the log of this node is damaged and has lost its end");
  recover->add_flag("--dry-run", flags->dry_run, "only say what it would mean");
  recover->add_flag("--yes", flags->yes, "do not ask");
  recover->footer(
      "The process of the node must be stopped. Run it on every survivor first, and take the one "
      "with the highest last term/index.\n"
      "Exit code 3: refused, and nothing has changed.\n"
      "Examples:\n"
      "  skein cluster recover --data-dir /var/lib/skein\n"
      "  skein cluster recover --data-dir /var/lib/skein --output json\n"
      "  skein cluster recover --data-dir /var/lib/skein --force-new-quorum");
  recover->callback([=] { globals->run = [=] { return RunRecover(*globals, *flags); }; });
  cluster->footer("Example:\n  skein cluster recover --data-dir /var/lib/skein");
}

}  // namespace skein::cli
