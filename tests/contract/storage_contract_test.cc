#include "tests/contract/log_membership_contract.h"
#include "tests/contract/log_reset_contract.h"
#include "tests/contract/log_store_contract.h"
#include "tests/contract/state_install_contract.h"
#include "tests/contract/state_machine_contract.h"
#include "tests/support/storage_world.h"

namespace skein {

INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, LogStoreContract, PlainWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, LogMembershipContract, PlainWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, LogResetContract, PlainWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, StateMachineContract, PlainWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(RocksDb, StateInstallContract, PlainWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(FaultyRocksDb, LogStoreContract, FaultyWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(FaultyRocksDb, LogMembershipContract, FaultyWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(FaultyRocksDb, LogResetContract, FaultyWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(FaultyRocksDb, StateMachineContract, FaultyWorld);
INSTANTIATE_TYPED_TEST_SUITE_P(FaultyRocksDb, StateInstallContract, FaultyWorld);

}  // namespace skein
