#include "tests/contract/log_store_contract.h"
#include "tests/contract/state_machine_contract.h"
#include "tests/sim/sim_world.h"

namespace skein {

INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, LogStoreContract, sim::FaultySimWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(Simulated, StateMachineContract, sim::SimWorld);

}  // namespace skein
