// `skein member replace`: one member for another. Every step is a change that leaves the cluster as
// safe as it was, and each looks at what there is instead of remembering what was done. So it may
// be broken off anywhere, and called again.
//
//  1. The new node becomes a learner: no quorum changes.
//  2. It is brought level.
//  3. It is promoted (if the old one votes): one voter more, and as many may fail as before.
//  4. The old one hands leadership over, if it leads, and is removed.
#include <fmt/format.h>

#include <algorithm>

#include "cli/member.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

struct ReplaceFlags {
  std::string old_id;
  std::string new_id;
  std::string address;
  std::string data_directory = "/var/lib/skein";
  double wait_seconds = 0;
};

class Replacement {
 public:
  Replacement(const Globals& globals, const ReplaceFlags& flags)
      : globals_(globals), flags_(flags), client_(globals.Connect()) {}

  int Run() {
    auto members = client_->Members(globals_.Timeout());
    if (!members.ok()) return Failed(members.status());
    absl::Status status = Check(*members);
    if (!status.ok()) return Failed(status);
    const ClusterMember* old_member = members->Find(flags_.old_id);
    const ClusterMember* new_member = members->Find(flags_.new_id);
    const bool voter = old_member != nullptr ? old_member->voter
                                             : new_member->voter || new_member->promote_when_level;
    status = Add(*members, voter);
    if (!status.ok()) return Failed(status);
    status = AwaitLevel(
        client_.get(), globals_,
        {.id = flags_.new_id, .voter = voter, .timeout_seconds = flags_.wait_seconds}, &progress_);
    if (!status.ok()) return Failed(status);
    if (old_member != nullptr) {
      progress_.Say(fmt::format("{} is level{}; removing {}", flags_.new_id,
                                voter ? ", and a voter" : "", flags_.old_id));
      if (Interrupted()) return Failed(absl::CancelledError("interrupted"));
      HandOver();
      members = Remove();
    } else {
      members = client_->Members(globals_.Timeout());
    }
    if (!members.ok()) return Failed(members.status());
    return Tell(*members);
  }

 private:
  absl::Status Check(const ClusterMembers& members) const {
    const ClusterMember* fresh = members.Find(flags_.new_id);
    if (members.Find(flags_.old_id) == nullptr && fresh == nullptr) {
      return absl::NotFoundError("there is no member " + flags_.old_id);
    }
    if (fresh != nullptr && fresh->address != flags_.address) {
      return MakeError(absl::StatusCode::kAlreadyExists,
                       fmt::format("{} is a member already, at {}", fresh->id, fresh->address),
                       {.hint = "name that address, or choose another name for the new node"});
    }
    return RefuseOldVoter(members);
  }

  // Who votes already was promoted by this command before it was broken off, or has always been a
  // voter, and then replaces nobody. It makes no difference as long as as many may fail without
  // OLD.
  absl::Status RefuseOldVoter(const ClusterMembers& members) const {
    const ClusterMember* fresh = members.Find(flags_.new_id);
    const ClusterMember* old_member = members.Find(flags_.old_id);
    if (fresh == nullptr || old_member == nullptr || !fresh->voter || !old_member->voter) {
      return absl::OkStatus();
    }
    const auto voters = std::count_if(members.members.begin(), members.members.end(),
                                      [](const ClusterMember& member) { return member.voter; });
    if ((voters - 2) / 2 >= (voters - 1) / 2) return absl::OkStatus();
    return MakeError(
        absl::StatusCode::kFailedPrecondition,
        fmt::format("{} is a voter already, and without {} fewer nodes may fail than now",
                    fresh->id, old_member->id),
        {.hint = fmt::format("if this command was broken off here before, `skein member remove {}` "
                             "ends it; else name a node that is not a member yet",
                             old_member->id)});
  }

  // Of the kind of the old one.
  absl::Status Add(const ClusterMembers& before, bool voter) {
    const ClusterMember* old_member = before.Find(flags_.old_id);
    const ClusterMember* fresh = before.Find(flags_.new_id);
    if (fresh != nullptr) {
      const bool removed = old_member == nullptr;
      progress_.Say(fmt::format("{} is a member already{}; going on from there", flags_.new_id,
                                removed ? " and " + flags_.old_id + " none any more" : ""));
      if (fresh->incarnation.empty()) SayHowToStart(before, *fresh);
      return absl::OkStatus();
    }
    const auto added = ChangeMembers(client_.get(), globals_, [&] {
      return client_->AddMember(
          flags_.new_id, flags_.address,
          {.promote_when_level = voter,
           .never_votes = old_member != nullptr && old_member->never_votes,
           .upstream_id = old_member == nullptr ? "" : old_member->upstream_id,
           .deadline = globals_.Timeout()});
    });
    if (!added.ok()) return added.status();
    progress_.Say(flags_.new_id + " is a member, as a learner");
    SayHowToStart(*added, *added->Find(flags_.new_id));
    return absl::OkStatus();
  }

  void SayHowToStart(const ClusterMembers& members, const ClusterMember& member) {
    progress_.Say("Start it on its machine:\n  " +
                  JoinCommand(members, member, flags_.data_directory));
  }

  // A leader that is removed hands over by itself; this way it is done before, and measured.
  void HandOver() {
    const auto status = client_->Status(std::min(globals_.Timeout(), kStatusTimeout));
    if (!status.ok() || status->leader_id != flags_.old_id) return;
    const auto transfer = client_->TransferLeadership("", globals_.Timeout());
    if (!transfer.ok()) {
      progress_.Say(fmt::format("{} leads, and could not hand over beforehand: {}", flags_.old_id,
                                MessageOf(transfer.status())));
      return;
    }
    progress_.Say(fmt::format("{} led; {} leads now, writes paused for {:.1f} ms", flags_.old_id,
                              transfer->leader_id, static_cast<double>(transfer->pause_us) / 1000));
  }

  absl::StatusOr<ClusterMembers> Remove() {
    const auto removed = ChangeMembers(client_.get(), globals_, [&] {
      return client_->RemoveMember(flags_.old_id, {.deadline = globals_.Timeout()});
    });
    if (!absl::IsNotFound(removed.status())) return removed;
    return client_->Members(globals_.Timeout());
  }

  int Tell(const ClusterMembers& members) const {
    switch (ListOutput(globals_)) {
      case Output::kJson:
        PrintJson(MembersJson(members));
        break;
      case Output::kPlain:
        fmt::print("replaced {} {}\n", flags_.old_id, flags_.new_id);
        break;
      case Output::kDefault:
      case Output::kTable:
        fmt::print(
            "{} has replaced {}: {}\nStop {} if it still runs; the cluster needs its data no "
            "more.\n",
            flags_.new_id, flags_.old_id, VotersWords(members), flags_.old_id);
    }
    return kExitDone;
  }

  int Failed(const absl::Status& status) {
    progress_.Clear();
    if (!absl::IsCancelled(status)) {
      const int code = FailChange(globals_, "member replace", status);
      if (code == kExitFailed) fmt::print(stderr, "  the same command goes on from here\n");
      return code;
    }
    fmt::print(
        stderr,
        "skein: interrupted; nothing is undone, and {} goes on catching up. The same command "
        "goes on from here.\n",
        flags_.new_id);
    return kExitFailed;
  }

  static constexpr std::chrono::milliseconds kStatusTimeout{500};

  const Globals& globals_;
  const ReplaceFlags& flags_;
  const std::unique_ptr<Client> client_;
  Progress progress_;
};

int RunReplace(const Globals& globals, const ReplaceFlags& flags) {
  if (flags.old_id == flags.new_id) {
    return FailUsage(
        "the new node needs a name of its own; `skein member move` is for a node that "
        "only changes its address");
  }
  CatchInterrupt();
  return Replacement(globals, flags).Run();
}

}  // namespace

void AddMemberReplace(CLI::App* member, Globals* globals) {
  auto flags = std::make_shared<ReplaceFlags>();
  CLI::App* command = member->add_subcommand(
      "replace", "Put a new node in the place of a member, alive or dead, step by step");
  AddNodeArgument(command, "OLD", &flags->old_id, "the member that goes");
  AddNodeArgument(command, "NEW", &flags->new_id, "name of the node that comes");
  AddAddressArgument(command, &flags->address, "where the new node will be reached");
  command->add_option("--wait-timeout", flags->wait_seconds, "seconds to wait at most; 0: for ever")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  command
      ->add_option("--data-dir", flags->data_directory,
                   "what the printed command has as its data directory")
      ->capture_default_str();
  command->footer(
      "Adds NEW as a learner, prints the command that starts it, waits until it is level and\n"
      "promoted, and removes OLD. At no time may fewer nodes fail than before. Ctrl-C undoes\n"
      "nothing; the same command goes on from where things stand.\n"
      "Example:\n"
      "  skein member replace n2 n5 10.0.0.5:7411");
  command->callback([=] { globals->run = [=] { return RunReplace(*globals, *flags); }; });
}

}  // namespace skein::cli
