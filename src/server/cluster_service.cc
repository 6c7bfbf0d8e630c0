#include "server/cluster_service.h"

#include <fmt/format.h>

#include "server/version.h"

namespace skein {
namespace {

v1::Role ToProto(const Core& core) {
  switch (core.role()) {
    case Role::kLeader:
      return v1::ROLE_LEADER;
    case Role::kPreCandidate:
    case Role::kCandidate:
      return v1::ROLE_CANDIDATE;
    case Role::kFollower:
      break;
  }
  return core.membership().IsVoter(core.self()) ? v1::ROLE_FOLLOWER : v1::ROLE_LEARNER;
}

v1::CatchUp::Way ToProto(CatchUp::Way way) {
  switch (way) {
    case CatchUp::Way::kLog:
      return v1::CatchUp::WAY_LOG;
    case CatchUp::Way::kSnapshot:
      return v1::CatchUp::WAY_SNAPSHOT;
    case CatchUp::Way::kInstall:
      return v1::CatchUp::WAY_INSTALL;
  }
  return v1::CatchUp::WAY_UNSPECIFIED;
}

void Fill(const CatchUp& catch_up, const Membership& membership, v1::CatchUp* out) {
  out->set_way(ToProto(catch_up.way));
  out->set_bytes_done(catch_up.bytes_done);
  out->set_bytes_left(catch_up.bytes_left);
  out->set_bytes_per_second(catch_up.bytes_per_second);
  if (catch_up.source != NodeId()) out->set_source_id(membership.NameOf(catch_up.source));
}

}  // namespace

grpc::ServerUnaryReactor* ClusterService::Status(grpc::CallbackServerContext* context,
                                                 const v1::StatusRequest*,
                                                 v1::StatusResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  parts_.loop->PostTask([this, reactor, response](Replica& replica) {
    FillStatus(replica, response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

void ClusterService::FillStatus(const Replica& replica, v1::StatusResponse* response) const {
  const Core& core = replica.core();
  // Term and leader are of one moment: the view lags behind the core until it has performed.
  std::optional<PeerAddress> leader;
  if (core.leader() != NodeId()) leader = parts_.watch->Find(core.leader());
  response->set_node_id(parts_.view->node_name());
  response->set_cluster_id(facts_.cluster_id);
  if (facts_.history != 0) response->set_history(fmt::format("{:016x}", facts_.history));
  response->set_incarnation(facts_.incarnation);
  response->set_version(kVersion);
  response->set_protocol_version(facts_.protocol_version);
  response->set_role(ToProto(core));
  response->set_term(core.term().value());
  response->set_leader_id(leader ? leader->name : "");
  response->set_leader_address(leader ? leader->address : "");
  response->set_has_quorum(core.ReachesQuorum());
  response->set_first_index(parts_.log_store->FirstIndex().value());
  response->set_last_index(core.log().last_index().value());
  response->set_durable_index(core.durable().value());
  response->set_commit_index(core.commit().value());
  response->set_applied_index(core.applied().value());
  const auto commit_point = core.log().PointAt(core.commit());
  response->set_commit_revision(commit_point ? commit_point->revision.value() : 0);
  response->set_applied_revision(replica.applied_revision().value());
  response->set_staleness_ms(core.role() == Role::kLeader ? 0 : parts_.view->StalenessMillis());
  response->set_uptime_ms((parts_.clock->MonotonicMicros() - facts_.started_us) / 1000);
  response->set_elections_won(elections_won.load());
  FillMembers(replica, response);
}

void ClusterService::FillMembers(const Replica& replica, v1::StatusResponse* response) const {
  const Core& core = replica.core();
  // Not what may yet be taken back: clients hold on to the newest list that they have seen.
  const MembershipAt members = core.memberships().committed;
  response->set_membership_index(members.index.value());
  for (const Member& member : members.membership.members) {
    v1::MemberStatus* out = response->add_members();
    out->set_id(member.name);
    out->set_address(member.address);
    out->set_voter(member.voter);
    out->set_connected(member.id == core.self() || core.LinkIsUp(member.id));
    if (member.upstream != NodeId()) {
      out->set_upstream_id(members.membership.NameOf(member.upstream));
    }
    if (core.role() != Role::kLeader) continue;
    const bool self = member.id == core.self();
    const auto it = core.progress().find(member.id);
    if (!self && it == core.progress().end()) continue;
    out->set_durable_index(self ? core.durable().value() : it->second.match.value());
    out->set_applied_revision(self ? replica.applied_revision().value()
                                   : replica.AppliedRevisionOf(member.id).value());
    const Lag lag = replica.LagOf(member.id);
    out->mutable_lag()->set_revisions(lag.revisions);
    out->mutable_lag()->set_bytes(lag.bytes);
    out->mutable_lag()->set_milliseconds(lag.milliseconds);
    if (!self && !member.voter && member.upstream != NodeId()) {
      const NodeId feeder = it->second.fed_by;
      out->set_fed_by_id(members.membership.NameOf(feeder == NodeId() ? core.self() : feeder));
    }
    const std::optional<CatchUp> catch_up = parts_.catch_up->Of(replica, member.id);
    if (catch_up) Fill(*catch_up, members.membership, out->mutable_catch_up());
  }
}

grpc::ServerUnaryReactor* ClusterService::Trace(grpc::CallbackServerContext* context,
                                                const v1::TraceRequest* request,
                                                v1::TraceResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  response->set_node_id(parts_.view->node_name());
  const Role role = parts_.view->leadership()->role;
  response->set_role(role == Role::kLeader ? v1::ROLE_LEADER : v1::ROLE_FOLLOWER);
  for (const StageTimes& times : parts_.trace->After(Revision(request->after_revision()))) {
    v1::StageTimes* out = response->add_entries();
    out->set_index(times.index.value());
    out->set_first_revision(times.first_revision.value());
    out->set_last_revision(times.last_revision.value());
    out->set_bytes(times.bytes);
    out->set_appended_us(times.at_us[static_cast<size_t>(Stage::kAppended)]);
    out->set_durable_us(times.at_us[static_cast<size_t>(Stage::kDurable)]);
    out->set_committed_us(times.at_us[static_cast<size_t>(Stage::kCommitted)]);
    out->set_applied_us(times.at_us[static_cast<size_t>(Stage::kApplied)]);
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace skein
