#include "tests/contract/transport_contract.h"

#include "tests/replication/grpc/transport_world.h"

namespace skein {

INSTANTIATE_TYPED_TEST_SUITE_P(Grpc, TransportContract, GrpcWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(ProxiedGrpc, TransportContract, ProxiedGrpcWorld);

}  // namespace skein
