#include "replication/core/entry.h"

#include "common/error.h"
#include "gtest/gtest.h"
#include "replication/command.h"

namespace skein {
namespace {

const LogPoint kPrevious{.at = {Term(2), Index(6)}, .chain = 99, .revision = Revision(40)};

EntryPtr Sample() {
  std::string batch;
  AppendPut(&batch, "key", "value");
  AppendDelete(&batch, "key");
  return Entry::Build(kPrevious, Term(3), EntryType::kCommands, 2, 123456, batch);
}

TEST(EntryTest, BuildContinuesItsPredecessor) {
  const EntryPtr entry = Sample();
  EXPECT_EQ(entry->index(), Index(7));
  EXPECT_EQ(entry->first_revision(), Revision(41));
  EXPECT_EQ(entry->last_revision(), Revision(42));
  EXPECT_TRUE(entry->Follows(kPrevious));
  EXPECT_EQ(entry->point().revision, Revision(42));
}

TEST(EntryTest, ANoOpTakesNoRevision) {
  const EntryPtr entry = Entry::Build(kPrevious, Term(3), EntryType::kNoOp, 0, 0, "");
  EXPECT_EQ(entry->point().revision, Revision(40));
  EXPECT_EQ(entry->bytes(), Entry::kHeaderBytes);
}

TEST(EntryTest, AFrameComesBack) {
  const EntryPtr entry = Sample();
  const absl::StatusOr<EntryPtr> parsed = Entry::Parse(entry->frame());
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ((*parsed)->point(), entry->point());
  EXPECT_EQ((*parsed)->type(), EntryType::kCommands);
  EXPECT_EQ((*parsed)->command_count(), 2u);
  EXPECT_EQ((*parsed)->cluster_time_ms(), 123456u);
  EXPECT_EQ((*parsed)->payload(), entry->payload());
  EXPECT_TRUE((*parsed)->Follows(kPrevious));
}

TEST(EntryTest, EveryFlippedBitIsNoticed) {
  const EntryPtr entry = Sample();
  for (size_t bit = 0; bit < entry->bytes() * 8; ++bit) {
    std::string frame = entry->frame();
    frame[bit / 8] = static_cast<char>(frame[bit / 8] ^ (1 << bit % 8));
    const absl::StatusOr<EntryPtr> parsed = Entry::Parse(frame);
    // The chain hash is not under the checksum: it shows by not following.
    EXPECT_TRUE(!parsed.ok() || !(*parsed)->Follows(kPrevious)) << "bit " << bit;
  }
}

TEST(EntryTest, EveryTruncationIsNoticed) {
  const EntryPtr entry = Sample();
  for (size_t size = 0; size < entry->bytes(); ++size) {
    const absl::StatusOr<EntryPtr> parsed = Entry::Parse(entry->frame().substr(0, size));
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kDataLoss) << size;
  }
}

TEST(EntryTest, FollowsRefusesAnotherPast) {
  const EntryPtr entry = Sample();
  LogPoint other = kPrevious;
  other.chain += 1;
  EXPECT_FALSE(entry->Follows(other));
  other = kPrevious;
  other.at.index = Index(5);
  EXPECT_FALSE(entry->Follows(other));
  other = kPrevious;
  other.revision = Revision(39);
  EXPECT_FALSE(entry->Follows(other));
  other = kPrevious;
  other.at.term = Term(4);
  EXPECT_FALSE(entry->Follows(other));
}

TEST(CommandTest, ABatchComesBack) {
  std::string batch;
  AppendPut(&batch, std::string("k\0", 2), "");
  AppendDelete(&batch, "gone");
  Decoder decoder(batch);
  CommandView command;
  ASSERT_TRUE(NextCommand(&decoder, &command));
  EXPECT_EQ(command.type, CommandType::kPut);
  EXPECT_EQ(command.key, std::string_view("k\0", 2));
  ASSERT_TRUE(NextCommand(&decoder, &command));
  EXPECT_EQ(command.type, CommandType::kDelete);
  EXPECT_EQ(command.key, "gone");
  EXPECT_TRUE(decoder.empty());
}

TEST(CommandTest, AnUnknownCommandIsRefused) {
  std::string batch;
  AppendPut(&batch, "k", "v");
  batch[0] = 9;
  Decoder decoder(batch);
  CommandView command;
  EXPECT_FALSE(NextCommand(&decoder, &command));
}

TEST(ErrorTest, TheDetailTravelsWithTheStatus) {
  const absl::Status status = MakeError(
      absl::StatusCode::kUnavailable, "no",
      {.reason = ErrorReason::kNotLeader, .leader_id = "n2", .term = 7, .hint = "ask n2"});
  const ErrorDetail detail = DetailOf(status);
  EXPECT_EQ(detail.reason, ErrorReason::kNotLeader);
  EXPECT_EQ(detail.leader_id, "n2");
  EXPECT_EQ(detail.term, 7u);
  EXPECT_EQ(detail.hint, "ask n2");
  EXPECT_FALSE(detail.maybe_applied);
  EXPECT_EQ(DetailOf(absl::OkStatus()).reason, ErrorReason::kNone);
}

}  // namespace
}  // namespace skein
