#include <fmt/format.h>

#include <algorithm>

#include "cli/catch_up.h"
#include "cli/member.h"
#include "cli/text.h"

namespace skein::cli {
namespace {

constexpr double kLookSeconds = 0.2;
constexpr std::chrono::milliseconds kStatusTimeout(500);
// A member that has only just connected may not yet be known to be behind.
constexpr int kLevelLooks = 2;
// A member that has all but the last few entries counts as level in the log, however old they are.
constexpr uint64_t kLagMillisMax = 500;

enum class Stage { kNoLeader, kGone, kNotConnected, kBehind, kLevel, kVoter };

struct Look {
  Stage stage = Stage::kNoLeader;
  std::string text;
  std::optional<CatchUpState> catch_up;
};

Look LookAt(const absl::StatusOr<ClusterStatus>& cluster, const std::string& id) {
  if (!cluster.ok()) return {Stage::kNoLeader, "no node answers"};
  if (cluster->leader_id.empty()) return {Stage::kNoLeader, "no node leads just now"};
  const auto node = std::find_if(cluster->nodes.begin(), cluster->nodes.end(),
                                 [&](const NodeStatus& one) { return one.id == id && one.member; });
  if (node == cluster->nodes.end()) return {Stage::kGone, id + " is not a member any more"};
  if (!node->connected) {
    return {Stage::kNotConnected, fmt::format("{} has no connection to the leader: start it, or "
                                              "see its log",
                                              id)};
  }
  if (node->catch_up.has_value()) {
    return {Stage::kBehind, id + " " + CatchUpWords(*node->catch_up), node->catch_up};
  }
  if (node->lag.has_value() && node->lag->milliseconds > kLagMillisMax) {
    return {Stage::kBehind,
            fmt::format("{} has yet to apply {} revisions", id, WithCommas(node->lag->revisions))};
  }
  if (node->voter) return {Stage::kVoter, id + " is level, and a voter"};
  return {Stage::kLevel, id + " is level, and waits to be made a voter"};
}

// How much of the way is done. A log tells only what is left: that is measured against the most
// that was ever left.
class Fraction {
 public:
  std::optional<double> Of(const CatchUpState& state) {
    if (state.way == CatchUpWay::kInstall) return 1;
    if (state.way == CatchUpWay::kUnknown) return std::nullopt;
    if (state.way != way_) most_ = 0;
    way_ = state.way;
    most_ = std::max(most_, state.bytes_done + state.bytes_left);
    if (most_ == 0) return std::nullopt;
    return 1 - static_cast<double>(state.bytes_left) / static_cast<double>(most_);
  }

 private:
  CatchUpWay way_ = CatchUpWay::kUnknown;
  uint64_t most_ = 0;
};

// Whoever was added to be promoted is promoted by the leader; the others need to be asked for.
absl::Status PromoteIfNobodyElseDoes(Client* client, const Globals& globals,
                                     const std::string& id) {
  const auto members = client->Members(globals.Timeout());
  if (!members.ok()) return absl::OkStatus();  // the next look shows whether that lasts
  const ClusterMember* member = members->Find(id);
  if (member == nullptr || member->voter || member->promote_when_level) return absl::OkStatus();
  if (member->never_votes) {
    return absl::FailedPreconditionError(id + " is a learner for good: it is never promoted");
  }
  const auto promoted = client->PromoteMember(id, globals.Timeout());
  const bool later =
      absl::IsFailedPrecondition(promoted.status()) || absl::IsAlreadyExists(promoted.status()) ||
      absl::IsUnavailable(promoted.status()) || DetailOf(promoted.status()).maybe_applied;
  return later ? absl::OkStatus() : promoted.status();
}

std::string StageName(const Look& look) {
  const int way = look.catch_up.has_value() ? static_cast<int>(look.catch_up->way) : 0;
  return fmt::format("{}/{}", static_cast<int>(look.stage), way);
}

struct WaitFlags {
  std::string id;
  bool voter = false;
  double wait_seconds = 0;
};

int RunWait(const Globals& globals, const WaitFlags& flags) {
  CatchInterrupt();
  const std::unique_ptr<Client> client = globals.Connect();
  Progress progress;
  const absl::Status level = AwaitLevel(
      client.get(), globals,
      {.id = flags.id, .voter = flags.voter, .timeout_seconds = flags.wait_seconds}, &progress);
  progress.Clear();
  if (level.ok()) return TellLevel(globals, client.get(), flags.id);
  if (absl::IsCancelled(level)) return kExitFailed;
  return FailChange(globals, "member wait", level);
}

}  // namespace

absl::Status AwaitLevel(Client* client, const Globals& globals, const Awaited& awaited,
                        Progress* progress) {
  const auto start = std::chrono::steady_clock::now();
  const std::chrono::duration<double> timeout(awaited.timeout_seconds);
  Fraction fraction;
  int level_looks = 0;
  while (true) {
    if (Interrupted()) return absl::CancelledError("interrupted");
    const Look look =
        LookAt(client->Status(std::min(kStatusTimeout, globals.Timeout())), awaited.id);
    if (look.stage == Stage::kGone) return absl::NotFoundError(look.text);
    const bool level = look.stage == Stage::kLevel || look.stage == Stage::kVoter;
    const bool enough = look.stage == Stage::kVoter || (level && !awaited.voter);
    level_looks = level ? level_looks + 1 : 0;
    if (level_looks >= kLevelLooks) {
      if (enough) return absl::OkStatus();
      const absl::Status promoted = PromoteIfNobodyElseDoes(client, globals, awaited.id);
      if (!promoted.ok()) return promoted;
    }
    if (awaited.timeout_seconds > 0 && std::chrono::steady_clock::now() - start >= timeout) {
      return absl::DeadlineExceededError(
          fmt::format("after {} s {}", awaited.timeout_seconds,
                      level ? awaited.id + " is level, but not a voter yet" : look.text));
    }
    if (!enough) {
      progress->Show(StageName(look), look.text,
                     look.catch_up.has_value() ? fraction.Of(*look.catch_up) : std::nullopt);
    }
    Pause(kLookSeconds);
  }
}

int TellLevel(const Globals& globals, Client* client, const std::string& id) {
  const auto members = client->Members(globals.Timeout());
  if (!members.ok()) return Fail(globals, "member list", members.status());
  const ClusterMember* member = members->Find(id);
  if (member == nullptr) {
    return FailChange(globals, "wait", absl::NotFoundError(id + " is not a member any more"));
  }
  switch (ListOutput(globals)) {
    case Output::kJson:
      PrintJson(MembersJson(*members));
      break;
    case Output::kPlain:
      fmt::print("level {} {}\n", id, member->voter ? "voter" : "learner");
      break;
    case Output::kDefault:
    case Output::kTable:
      fmt::print("{} is level{}: {}\n", id, member->voter ? ", and a voter" : "",
                 VotersWords(*members));
  }
  return kExitDone;
}

void AddMemberWait(CLI::App* member, Globals* globals) {
  auto flags = std::make_shared<WaitFlags>();
  CLI::App* command =
      member->add_subcommand("wait", "Wait until a member is level, as after its restart");
  AddNodeArgument(command, "NODE", &flags->id, "the member");
  command->add_flag("--voter", flags->voter,
                    "until it is a voter too; it is promoted if nobody else does it");
  command->add_option("--wait-timeout", flags->wait_seconds, "seconds to wait at most; 0: for ever")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e9));
  command->footer("Example:\n  skein member wait n3 --wait-timeout 60");
  command->callback([=] { globals->run = [=] { return RunWait(*globals, *flags); }; });
}

}  // namespace skein::cli
