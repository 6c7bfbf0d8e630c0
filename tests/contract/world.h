// A World is one node's disk, on which the contract suites open an implementation again and again.
// Derive it from WorldWithoutFaults and give it what the suite asks for; log_store_contract.h and
// state_machine_contract.h say what that is. For each fault that it can inject, set the constant
// to true and hide the functions below it. Tests of faults that a world cannot inject are skipped.
#pragma once

#include <cstdint>
#include <optional>

#include "common/check.h"
#include "gtest/gtest.h"
#include "tests/support/storage_faults.h"

namespace skein {

struct WorldWithoutFaults {
  // With a store open: what is not durable is gone, but for a torn tail. Then close it, open anew.
  static constexpr bool kCanLosePower = false;
  void LosePower(const TornTail& = {}) { SKEIN_CHECK(!"this world never loses power"); }

  // From now on, until the store is opened anew, nothing becomes durable: every sync fails.
  static constexpr bool kCanFailSyncs = false;
  void FailSyncs() { SKEIN_CHECK(!"this world's syncs never fail"); }

  // Nothing becomes durable until the release; AwaitHang waits until something tries to.
  static constexpr bool kCanHang = false;
  void HangSyncs() { SKEIN_CHECK(!"this world never hangs"); }
  bool AwaitHang() { return false; }
  void ReleaseSyncs() {}

  // So many bytes can still be written; nullopt: as many as wanted.
  static constexpr bool kCanRunFull = false;
  void SetFreeBytes(std::optional<uint64_t>) { SKEIN_CHECK(!"this world never runs full"); }
};

}  // namespace skein

// Skips the test unless the constant of the world, such as TypeParam::kCanHang, holds.
#define SKEIN_SKIP_UNLESS(can) \
  if constexpr (!(can)) GTEST_SKIP() << #can << " is false"
