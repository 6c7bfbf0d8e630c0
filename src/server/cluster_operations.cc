// The calls of the Cluster service that change something, and who the members are.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "server/cluster_service.h"
#include "server/node_options.h"
#include "server/proto_error.h"

namespace skein {
namespace {

absl::Status Valid(const std::string& id) {
  const absl::Status status = CheckNodeName(id);
  return status.ok() ? status : InvalidField("id: " + MessageOf(status));
}

absl::Status Valid(const std::string& id, const std::string& address) {
  absl::Status status = Valid(id);
  if (!status.ok()) return status;
  status = CheckNodeAddress("address", address);
  return status.ok() ? status : InvalidField(MessageOf(status));
}

// The id of the upstream that is named; 0: none is.
absl::StatusOr<NodeId> UpstreamOf(const std::string& name, const Membership& membership) {
  if (name.empty()) return NodeId();
  const Member* member = membership.Find(NodeIdOf(name));
  if (member == nullptr) return OperatorCalls::NoSuchMember(membership, name);
  return member->id;
}

// What `make` does to the member of this name.
template <typename Make>
OperatorCalls::MakeChange ToMember(const std::string& name, Make make) {
  return [name, make](const Membership& membership) -> absl::StatusOr<MembershipChange> {
    const Member* member = membership.Find(NodeIdOf(name));
    if (member == nullptr) return OperatorCalls::NoSuchMember(membership, name);
    return make(member->id);
  };
}

}  // namespace

void ClusterService::FillMembers(const MembershipsInForce& memberships,
                                 v1::MembersResponse* response) const {
  const MembershipAt& newest = memberships.newest;
  response->set_node_id(parts_.view->node_name());
  response->set_cluster_id(facts_.cluster_id);
  response->set_cluster_token(facts_.cluster_token);
  if (facts_.history != 0) response->set_history(fmt::format("{:016x}", facts_.history));
  response->set_membership_index(newest.index.value());
  response->set_committed(memberships.committed.index == newest.index);
  response->set_required_protocol_version(newest.membership.RequiredVersion());
  std::vector<Member> members = newest.membership.members;
  std::sort(members.begin(), members.end(),
            [](const Member& a, const Member& b) { return a.name < b.name; });
  for (const Member& member : members) {
    v1::Member* out = response->add_members();
    out->set_id(member.name);
    out->set_address(member.address);
    out->set_voter(member.voter);
    out->set_promote_when_level(member.promote_when_level);
    out->set_never_votes(member.never_votes);
    if (member.upstream != NodeId()) {
      out->set_upstream_id(newest.membership.NameOf(member.upstream));
    }
    if (member.incarnation != 0) out->set_incarnation(fmt::format("{:016x}", member.incarnation));
  }
}

grpc::ServerUnaryReactor* ClusterService::Members(grpc::CallbackServerContext* context,
                                                  const v1::MembersRequest*,
                                                  v1::MembersResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  parts_.loop->PostTask([this, reactor, response](Replica& replica) {
    FillMembers(replica.core().memberships(), response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::Change(grpc::CallbackServerContext* context,
                                                 const absl::Status& valid,
                                                 OperatorCalls::MakeChange make,
                                                 v1::ChangeResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!valid.ok()) {
    reactor->Finish(ToGrpcStatus(valid));
    return reactor;
  }
  parts_.operator_calls->Change(
      std::move(make), [this, reactor, response](absl::StatusOr<MembershipsInForce> after) {
        if (after.ok()) FillMembers(*after, response->mutable_members());
        reactor->Finish(ToGrpcStatus(after.status()));
      });
  return reactor;
}

grpc::ServerUnaryReactor* ClusterService::AddMember(grpc::CallbackServerContext* context,
                                                    const v1::AddMemberRequest* request,
                                                    v1::ChangeResponse* response) {
  const AddLearner add{.id = NodeIdOf(request->id()),
                       .name = request->id(),
                       .address = request->address(),
                       .promote_when_level = request->promote_when_level(),
                       .never_votes = request->never_votes()};
  return Change(
      context, Valid(request->id(), request->address()),
      [add, name = request->upstream_id()](
          const Membership& membership) -> absl::StatusOr<MembershipChange> {
        const absl::StatusOr<NodeId> upstream = UpstreamOf(name, membership);
        if (!upstream.ok()) return upstream.status();
        AddLearner with_upstream = add;
        with_upstream.upstream = *upstream;
        return with_upstream;
      },
      response);
}

grpc::ServerUnaryReactor* ClusterService::SetUpstream(grpc::CallbackServerContext* context,
                                                      const v1::SetUpstreamRequest* request,
                                                      v1::ChangeResponse* response) {
  return Change(
      context, Valid(request->id()),
      [id = request->id(), name = request->upstream_id()](
          const Membership& membership) -> absl::StatusOr<MembershipChange> {
        const Member* member = membership.Find(NodeIdOf(id));
        if (member == nullptr) return OperatorCalls::NoSuchMember(membership, id);
        const absl::StatusOr<NodeId> upstream = UpstreamOf(name, membership);
        if (!upstream.ok()) return upstream.status();
        return skein::SetUpstream{member->id, *upstream};
      },
      response);
}

grpc::ServerUnaryReactor* ClusterService::PromoteMember(grpc::CallbackServerContext* context,
                                                        const v1::PromoteMemberRequest* request,
                                                        v1::ChangeResponse* response) {
  return Change(context, Valid(request->id()),
                ToMember(request->id(), [](NodeId id) { return skein::PromoteMember{id}; }),
                response);
}

grpc::ServerUnaryReactor* ClusterService::RemoveMember(grpc::CallbackServerContext* context,
                                                       const v1::RemoveMemberRequest* request,
                                                       v1::ChangeResponse* response) {
  const bool force = request->force();
  return Change(context, Valid(request->id()),
                ToMember(request->id(),
                         [force](NodeId id) {
                           return skein::RemoveMember{id, force};
                         }),
                response);
}

grpc::ServerUnaryReactor* ClusterService::MoveMember(grpc::CallbackServerContext* context,
                                                     const v1::MoveMemberRequest* request,
                                                     v1::ChangeResponse* response) {
  const std::string address = request->address();
  return Change(context, Valid(request->id(), address),
                ToMember(request->id(),
                         [address](NodeId id) {
                           return skein::MoveMember{id, address};
                         }),
                response);
}

grpc::ServerUnaryReactor* ClusterService::TransferLeadership(grpc::CallbackServerContext* context,
                                                             const v1::TransferRequest* request,
                                                             v1::TransferResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const std::string& target = request->target_id();
  const absl::Status valid = target.empty() ? absl::OkStatus() : Valid(target);
  if (!valid.ok()) {
    reactor->Finish(ToGrpcStatus(valid));
    return reactor;
  }
  parts_.operator_calls->Transfer(
      target, [reactor, response](const absl::StatusOr<OperatorCalls::Handover>& handover) {
        if (handover.ok()) {
          response->set_leader_id(handover->leader);
          response->set_term(handover->term.value());
          response->set_pause_us(handover->pause_us);
        }
        reactor->Finish(ToGrpcStatus(handover.status()));
      });
  return reactor;
}

}  // namespace skein
