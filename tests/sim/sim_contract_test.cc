#include "tests/contract/log_membership_contract.h"
#include "tests/contract/log_reset_contract.h"
#include "tests/contract/log_store_contract.h"
#include "tests/contract/state_install_contract.h"
#include "tests/contract/state_machine_contract.h"
#include "tests/contract/transport_contract.h"
#include "tests/sim/sim_transport_world.h"
#include "tests/sim/sim_world.h"

namespace skein {

INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, LogStoreContract, sim::FaultySimWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, LogMembershipContract, sim::FaultySimWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, LogResetContract, sim::FaultySimWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, StateMachineContract, sim::SimWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, StateInstallContract, sim::SimWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, TransportContract, sim::SimTransportWorld);

}  // namespace skein
