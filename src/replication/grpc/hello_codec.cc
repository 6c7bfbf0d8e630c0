#include "replication/grpc/hello_codec.h"

#include <utility>

namespace skein {

void Fill(const Hello& hello, v1::PeerHello* wire) {
  wire->set_cluster_id(hello.sender.cluster_id);
  wire->set_node_id(hello.sender.node.value());
  wire->set_node_name(hello.sender.name);
  wire->set_incarnation(hello.sender.incarnation);
  wire->set_protocol_version(hello.sender.protocol_version);
  wire->set_oldest_protocol_version(hello.sender.oldest_protocol_version);
  wire->set_to_node_id(hello.to.value());
  wire->set_membership_index(hello.membership_index.value());
  wire->set_address(hello.address);
  wire->set_history(hello.sender.history);
}

Hello FromWire(v1::PeerHello wire) {
  const uint32_t oldest = wire.oldest_protocol_version();
  return {.sender = {.cluster_id = wire.cluster_id(),
                     .node = NodeId(wire.node_id()),
                     .name = std::move(*wire.mutable_node_name()),
                     .incarnation = wire.incarnation(),
                     .protocol_version = wire.protocol_version(),
                     .oldest_protocol_version = oldest != 0 ? oldest : wire.protocol_version(),
                     .history = wire.history()},
          .to = NodeId(wire.to_node_id()),
          .membership_index = Index(wire.membership_index()),
          .address = std::move(*wire.mutable_address())};
}

}  // namespace skein
