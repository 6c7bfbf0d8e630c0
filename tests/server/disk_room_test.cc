#include "server/disk_room.h"

#include <gtest/gtest.h>

namespace skein {
namespace {

constexpr uint64_t kReserve = 1 << 20;
constexpr uint64_t kPut = 1 << 10;

class DiskRoomTest : public ::testing::Test {
 protected:
  // How many puts there is room for until one is refused.
  int TakeAll() {
    int taken = 0;
    while (taken < 1'000'000 && room_.Take(kPut)) ++taken;
    return taken;
  }

  int looks_ = 0;
  DiskRoom room_{kReserve, [this] { ++looks_; }};
};

TEST_F(DiskRoomTest, TakesAllBeforeTheFirstLook) {
  EXPECT_EQ(TakeAll(), 1'000'000);
  EXPECT_EQ(looks_, 0);
}

TEST_F(DiskRoomTest, PutsAreRefusedBetweenTwoLooksBeforeTheyCanReachTheReserve) {
  EXPECT_FALSE(room_.Looked(kReserve + 3000 * kPut)) << "there was room before";
  const int taken = TakeAll();
  EXPECT_GT(taken, 900);
  EXPECT_LE(taken, 1000) << "each is written three times";
  EXPECT_EQ(looks_, 1) << "when half was taken";
  EXPECT_FALSE(room_.full()) << "only a look finds it so";
}

TEST_F(DiskRoomTest, ALookWhenItIsTimeLetsTheNextPutsIn) {
  room_.Looked(kReserve + 300 * kPut);
  while (looks_ == 0) ASSERT_TRUE(room_.Take(kPut));
  EXPECT_FALSE(room_.Looked(kReserve + 150 * kPut));
  while (looks_ == 1) ASSERT_TRUE(room_.Take(kPut));
}

TEST_F(DiskRoomTest, TellsOfTheEndAndOfTheReturnOfRoomOnce) {
  EXPECT_TRUE(room_.Looked(kReserve));
  EXPECT_TRUE(room_.full());
  EXPECT_FALSE(room_.Looked(kReserve / 2));
  EXPECT_EQ(TakeAll(), 0);
  EXPECT_TRUE(room_.Looked(2 * kReserve));
  EXPECT_FALSE(room_.full());
  EXPECT_TRUE(room_.Take(kPut));
}

}  // namespace
}  // namespace skein
