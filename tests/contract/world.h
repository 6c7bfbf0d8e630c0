// A World is what an implementation stands on while a contract suite tries it: one node's disk, on
// which stores are opened again and again, or a network with three nodes. Derive it from
// WorldWithoutFaults or NetworkWithoutFaults and give it what the suite asks for;
// log_store_contract.h, state_machine_contract.h and transport_contract.h say what that is. For
// each fault that it can inject, set the constant to true and hide the functions below it. Tests of
// faults that a world cannot inject are skipped.
#pragma once

#include <cstddef>
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

// Faults of the link from one node to another. Each may do the same to other links of the receiver,
// and none does anything to links between the other nodes.
struct NetworkWithoutFaults {
  // The connection breaks. Both ends live and can be reached.
  static constexpr bool kCanBreak = false;
  void Break(size_t, size_t) { SKEIN_CHECK(!"this world's links never break"); }

  // Nothing arrives before the release, and nothing is lost by that.
  static constexpr bool kCanStall = false;
  void Stall(size_t, size_t) { SKEIN_CHECK(!"this world's links never stall"); }
  void Release(size_t, size_t) {}

  // What is sent vanishes, and nobody is told, until the link is healed.
  static constexpr bool kCanSwallow = false;
  void Swallow(size_t, size_t) { SKEIN_CHECK(!"this world swallows nothing"); }

  // The peer cannot be reached until the link is healed, and the sender can tell.
  static constexpr bool kCanCut = false;
  void Cut(size_t, size_t) { SKEIN_CHECK(!"this world's links cannot be cut"); }
  void Heal(size_t, size_t) {}

  // Something of what is sent next changes on the way.
  static constexpr bool kCanGarble = false;
  void Garble(size_t, size_t) { SKEIN_CHECK(!"this world changes nothing"); }
};

}  // namespace skein

// Skips the test unless the constant of the world, such as TypeParam::kCanHang, holds.
#define SKEIN_SKIP_UNLESS(can) \
  if constexpr (!(can)) GTEST_SKIP() << #can << " is false"
