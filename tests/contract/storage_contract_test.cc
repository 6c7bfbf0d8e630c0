#include "tests/contract/log_store_contract.h"
#include "tests/contract/state_machine_contract.h"
#include "tests/support/storage_world.h"

namespace skein {

INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, LogStoreContract, PlainWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, StateMachineContract, PlainWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(FaultyRocksDb, LogStoreContract, FaultyWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(FaultyRocksDb, StateMachineContract, FaultyWorld);

}  // namespace skein
