// The calls of operators: who belongs to the cluster, changes of that, and handing leadership over.
// Each finds the leader by itself and blocks the calling thread. See skein::Client.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "client/channels.h"
#include "client/dispatcher.h"
#include "skein/membership.h"

namespace skein::client {

absl::StatusOr<ClusterMembers> AskMembers(Dispatcher* dispatcher, ChannelPool* channels,
                                          std::chrono::milliseconds deadline);
absl::StatusOr<ClusterMembers> AddMember(Dispatcher* dispatcher, ChannelPool* channels,
                                         const std::string& id, const std::string& address,
                                         const AddMemberOptions& options);
absl::StatusOr<ClusterMembers> PromoteMember(Dispatcher* dispatcher, ChannelPool* channels,
                                             const std::string& id,
                                             std::chrono::milliseconds deadline);
absl::StatusOr<ClusterMembers> RemoveMember(Dispatcher* dispatcher, ChannelPool* channels,
                                            const std::string& id,
                                            const RemoveMemberOptions& options);
absl::StatusOr<ClusterMembers> MoveMember(Dispatcher* dispatcher, ChannelPool* channels,
                                          const std::string& id, const std::string& address,
                                          std::chrono::milliseconds deadline);
absl::StatusOr<ClusterMembers> SetUpstream(Dispatcher* dispatcher, ChannelPool* channels,
                                           const std::string& id, const std::string& upstream_id,
                                           std::chrono::milliseconds deadline);
absl::StatusOr<LeadershipTransfer> TransferLeadership(Dispatcher* dispatcher, ChannelPool* channels,
                                                      const std::string& target,
                                                      std::chrono::milliseconds deadline);

}  // namespace skein::client
