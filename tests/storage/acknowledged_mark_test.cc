#include "storage/acknowledged_mark.h"

#include "gtest/gtest.h"
#include "storage/file_util.h"
#include "tests/support/temp_dir.h"

namespace skein {
namespace {

AcknowledgedMark::Value At(uint64_t index) {
  return {.at = {Term(4), Index(index)}, .chain = index * 31, .term = Term(5), .vote = NodeId(2)};
}

class AcknowledgedMarkTest : public testing::Test {
 protected:
  std::unique_ptr<AcknowledgedMark> Open() {
    auto mark = AcknowledgedMark::Open(path_);
    EXPECT_TRUE(mark.ok()) << mark.status();
    return mark.ok() ? *std::move(mark) : nullptr;
  }
  void FlipByte(size_t at) {
    std::string content = *ReadFile(path_);
    content[at] = static_cast<char>(content[at] ^ 0x10);
    ASSERT_TRUE(ReplaceFile(path_, content).ok());
  }

  TempDir temp_;
  const std::string path_ = temp_.File("acknowledged");
};

TEST_F(AcknowledgedMarkTest, ANewMarkSaysNothing) {
  EXPECT_EQ(AcknowledgedMark::Open(path_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(AcknowledgedMark::Create(path_).ok());
  EXPECT_EQ(Open()->value(), AcknowledgedMark::Value{});
}

TEST_F(AcknowledgedMarkTest, TheNewestValueIsFoundAgain) {
  ASSERT_TRUE(AcknowledgedMark::Create(path_).ok());
  for (uint64_t index = 1; index <= 5; ++index) {
    ASSERT_TRUE(Open()->Raise(At(index)).ok());
    EXPECT_EQ(Open()->value(), At(index));
  }
}

TEST_F(AcknowledgedMarkTest, ADamagedSlotLeavesTheOneBefore) {
  for (const size_t place : {size_t{0}, size_t{512}}) {
    ASSERT_TRUE(AcknowledgedMark::Create(path_).ok());
    const auto mark = Open();
    ASSERT_TRUE(mark->Raise(At(10)).ok());  // into the first slot
    ASSERT_TRUE(mark->Raise(At(11)).ok());  // into the second
    FlipByte(place + 20);
    EXPECT_EQ(Open()->value(), place == 0 ? At(11) : At(10));
  }
}

TEST_F(AcknowledgedMarkTest, WithoutAValidSlotItIsDamaged) {
  ASSERT_TRUE(AcknowledgedMark::Create(path_).ok());
  FlipByte(20);
  FlipByte(532);
  EXPECT_EQ(AcknowledgedMark::Open(path_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(AcknowledgedMarkTest, AfterLoweringNoSlotHoldsTheHigherValue) {
  for (const size_t place : {size_t{0}, size_t{512}}) {
    ASSERT_TRUE(AcknowledgedMark::Create(path_).ok());
    const auto mark = Open();
    ASSERT_TRUE(mark->Raise(At(10)).ok());
    ASSERT_TRUE(mark->Raise(At(11)).ok());
    ASSERT_TRUE(mark->Lower(At(3)).ok());
    FlipByte(place + 20);
    EXPECT_EQ(Open()->value(), At(3));
  }
}

}  // namespace
}  // namespace skein
