#include "server/join.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "skein/v1/cluster.grpc.pb.h"

namespace skein {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds kCallTimeout{1000};
constexpr absl::Duration kPause = absl::Milliseconds(250);
constexpr std::chrono::seconds kToldEvery{5};

std::string Comma(const std::vector<std::string>& items) {
  return fmt::format("{}", fmt::join(items, ", "));
}

absl::StatusOr<v1::MembersResponse> AskOne(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto stub = v1::Cluster::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
  v1::MembersResponse response;
  const grpc::Status status = stub->Members(&context, v1::MembersRequest(), &response);
  if (status.ok()) return response;
  return absl::UnavailableError(fmt::format("{}: {}", address, status.error_message()));
}

uint64_t FromHex(const std::string& hex) {
  uint64_t number = 0;
  std::from_chars(hex.data(), hex.data() + hex.size(), number, 16);
  return number;
}

ClusterTold ToldBy(const v1::MembersResponse& response) {
  ClusterTold told;
  told.token = response.cluster_token();
  told.history = FromHex(response.history());
  told.index = Index(response.membership_index());
  told.membership.required_version =
      std::max(response.required_protocol_version(), kOldestProtocolVersion);
  for (const v1::Member& from : response.members()) {
    Member member{.id = NodeIdOf(from.id()), .name = from.id(), .address = from.address()};
    member.voter = from.voter();
    member.promote_when_level = from.promote_when_level();
    member.never_votes = from.never_votes();
    if (!from.upstream_id().empty()) member.upstream = NodeIdOf(from.upstream_id());
    member.incarnation = FromHex(from.incarnation());
    told.membership.members.push_back(std::move(member));
  }
  std::sort(told.membership.members.begin(), told.membership.members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  return told;
}

std::string OwnAddress(const NodeOptions& options) {
  return options.advertise.empty() ? options.listen : options.advertise;
}

absl::Status RefuseAddress(const NodeOptions& options, const Member& member) {
  if (IsReachedAt(options, member.address)) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format(
      "the cluster reaches {} at {}, but this node is at {}: give --listen or --advertise "
      "accordingly, or run: skein member move {} {}",
      options.name, member.address, OwnAddress(options), options.name, OwnAddress(options)));
}

// Whether this node may begin with what it was told.
absl::Status Check(const NodeOptions& options, uint64_t incarnation, const ClusterTold& told,
                   const Member& member) {
  if (!options.cluster_token.empty() && options.cluster_token != told.token) {
    return absl::FailedPreconditionError(
        fmt::format("the cluster at {} is called {}, not {} as --cluster-token says",
                    Comma(options.join), told.token, options.cluster_token));
  }
  if (member.incarnation != 0 && member.incarnation != incarnation) {
    return absl::FailedPreconditionError(fmt::format(
        "the cluster has seen another data directory of {}, and refuses this one, {}, which is "
        "empty: bring the other one back, or run: skein member remove {}; skein member add {} {}",
        options.name, options.data_directory, options.name, options.name, OwnAddress(options)));
  }
  return RefuseAddress(options, member);
}

absl::Status NotAMember(const NodeOptions& options, const ClusterTold& told) {
  std::vector<std::string> names;
  for (const Member& member : told.membership.members) names.push_back(member.name);
  std::sort(names.begin(), names.end());
  return absl::FailedPreconditionError(fmt::format(
      "{} is not a member of the cluster at {}, which has {}; run: skein member add {} "
      "{}",
      options.name, Comma(options.join), Comma(names), options.name, OwnAddress(options)));
}

// Says a thing when it is new, and again now and then.
class Teller {
 public:
  explicit Teller(Logger* logger) : logger_(logger) {}

  void Tell(const std::string& text) {
    const auto now = steady_clock::now();
    if (text == last_ && now < last_at_ + kToldEvery) return;
    last_ = text;
    last_at_ = now;
    logger_->Event(LogLevel::kInfo, "joining", {{"text", text}});
  }

 private:
  Logger* const logger_;
  std::string last_;
  steady_clock::time_point last_at_;
};

}  // namespace

absl::StatusOr<ClusterTold> AskForCluster(const NodeOptions& options, uint64_t incarnation,
                                          Logger* logger) {
  const NodeId self = NodeIdOf(options.name);
  const auto began = steady_clock::now();
  Teller teller(logger);
  teller.Tell(
      fmt::format("asks {} for the cluster that {} belongs to", Comma(options.join), options.name));
  while (true) {
    std::optional<ClusterTold> newest;
    std::vector<std::string> failures;
    for (const std::string& address : options.join) {
      const absl::StatusOr<v1::MembersResponse> response = AskOne(address);
      if (!response.ok()) {
        failures.emplace_back(response.status().message());
      } else if (!newest || newest->index < Index(response->membership_index())) {
        newest = ToldBy(*response);
      }
    }
    const Member* member = newest ? newest->membership.Find(self) : nullptr;
    if (member != nullptr) {
      absl::Status refused = Check(options, incarnation, *newest, *member);
      if (!refused.ok()) return refused;
      teller.Tell(fmt::format("belongs to cluster {} as a {}", newest->token,
                              member->voter ? "voter" : "learner"));
      return *std::move(newest);
    }
    const auto waited = steady_clock::now() - began;
    if (newest && waited >= std::chrono::milliseconds(options.join_member_wait_ms)) {
      return NotAMember(options, *newest);
    }
    if (waited >= std::chrono::milliseconds(options.join_wait_ms)) {
      return absl::UnavailableError(fmt::format(
          "no node given by --join has answered within {} ms: {}; check that they run, and the "
          "addresses",
          options.join_wait_ms, Comma(failures)));
    }
    teller.Tell(newest ? fmt::format("{} is not a member yet, asks again", options.name)
                       : "no answer yet: " + Comma(failures));
    absl::SleepFor(kPause);
  }
}

}  // namespace skein
