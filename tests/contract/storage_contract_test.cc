#include "tests/contract/log_store_contract.h"
#include "tests/contract/state_machine_contract.h"
#include "tests/support/storage_world.h"

namespace skein {

INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, LogStoreContract, RocksWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, StateMachineContract, RocksWorld);

}  // namespace skein
