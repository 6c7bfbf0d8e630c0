// A snapshot that is being received, and all that can happen to it.
#include "storage/incoming_snapshot.h"

#include <algorithm>

#include "common/checksum.h"
#include "storage/snapshot_file.h"
#include "tests/storage/snapshot_fixture.h"

namespace skein {
namespace {

class IncomingSnapshotTest : public SnapshotTest {
 protected:
  static constexpr size_t kPartBytes = 20'000;
  static constexpr size_t kAllParts = ~size_t{0};

  IncomingSnapshotTest() {
    FillSource();
    snapshot_ = Take();
    EXPECT_GT(snapshot_->manifest().TotalBytes(), 5 * kPartBytes);
  }
  void Begin() {
    const absl::Status begun = target_.incoming()->Begin(snapshot_->manifest());
    ASSERT_TRUE(begun.ok()) << begun;
  }
  absl::Status Send(size_t parts, const TamperWithPart& tamper = nullptr) {
    return SendParts(*snapshot_, target_.incoming(), parts, kPartBytes, tamper);
  }
  void ExpectInstalls() {
    const auto base = target_.incoming()->Finish();
    ASSERT_TRUE(base.ok()) << base.status();
    EXPECT_EQ(*base, snapshot_->manifest().base);
    EXPECT_EQ(target_.incoming()->complete(), *base);
    const auto installed = target_.Install(*base);
    ASSERT_TRUE(installed.ok()) << installed.status();
    EXPECT_EQ(target_.Digest(), source_.Digest());
    EXPECT_FALSE(FileExists(target_.File("incoming")));
  }
  uint64_t TableBytes() const {
    uint64_t bytes = 0;
    for (const SnapshotFile& file : snapshot_->manifest().files) {
      if (IsTableFile(file.name)) bytes += file.bytes;
    }
    return bytes;
  }
  std::string Received(const std::string& file) const {
    return target_.File("incoming/state/" + file);
  }

  std::shared_ptr<const Snapshot> snapshot_;
};

TEST_F(IncomingSnapshotTest, ItIsReceivedFileByFile) {
  EXPECT_EQ(target_.incoming()->Next(), std::nullopt);
  EXPECT_EQ(target_.incoming()->bytes_total(), 0u);
  Begin();
  EXPECT_EQ(target_.incoming()->bytes_total(), snapshot_->manifest().TotalBytes());
  uint64_t before = 0;
  while (target_.incoming()->Next().has_value()) {
    EXPECT_FALSE(target_.incoming()->Finish().ok());
    ASSERT_TRUE(Send(1).ok());
    EXPECT_GT(target_.incoming()->bytes_done(), before);
    before = target_.incoming()->bytes_done();
  }
  EXPECT_EQ(before, target_.incoming()->bytes_total());
  EXPECT_EQ(target_.incoming()->complete(), std::nullopt);
  ExpectInstalls();
}

TEST_F(IncomingSnapshotTest, BeginningAgainGoesOnWhereItWas) {
  Begin();
  ASSERT_TRUE(Send(3).ok());
  const auto wanted = target_.incoming()->Next();
  const uint64_t done = target_.incoming()->bytes_done();
  EXPECT_GT(wanted->offset, 0u) << "amid a file";
  Begin();
  EXPECT_EQ(target_.incoming()->Next()->file, wanted->file);
  EXPECT_EQ(target_.incoming()->Next()->offset, wanted->offset);
  EXPECT_EQ(target_.incoming()->bytes_done(), done);
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
}

// When the file after them has come they have settled. The others are small.
TEST_F(IncomingSnapshotTest, ARestartKeepsWholeTableFiles) {
  for (const bool power : {false, true}) {
    SCOPED_TRACE(power);
    ASSERT_TRUE(target_.incoming()->Discard().ok());
    Begin();
    ASSERT_TRUE(IsTableFile(target_.incoming()->Next()->file));
    ASSERT_TRUE(Send(1).ok());
    ASSERT_GT(target_.incoming()->Next()->offset, 0u) << "amid a file";
    target_.Open();
    Begin();
    EXPECT_EQ(target_.incoming()->bytes_done(), 0u);
    while (!target_.incoming()->Next()->file.starts_with("MANIFEST")) ASSERT_TRUE(Send(1).ok());
    EXPECT_GT(target_.incoming()->bytes_done(), TableBytes());
    if (power) target_.world.LosePower({.sound_bytes = 100, .garbage_bytes = 100});
    target_.Open();
    Begin();
    EXPECT_EQ(target_.incoming()->bytes_done(), TableBytes());
  }
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
}

// The disk writes such parts while the next is received.
TEST_F(IncomingSnapshotTest, PartsOfTheLargestSizeAreDurableWithTheirFile) {
  source_.Apply(chain_.Puts(Term(1), 2, 3 * kSnapshotPartBytesMax));
  snapshot_ = Take(chain_.last().at.index);
  const auto send = [this](size_t parts) {
    return SendParts(*snapshot_, target_.incoming(), parts, kSnapshotPartBytesMax);
  };
  Begin();
  while (target_.incoming()->Next()->bytes <= kSnapshotPartBytesMax) ASSERT_TRUE(send(1).ok());
  target_.world.fs().FailSyncsOf("*.part");
  const absl::Status failed = send(1);
  EXPECT_FALSE(failed.ok() || absl::IsDataLoss(failed)) << failed;
  EXPECT_FALSE(FileExists(target_.File("incoming")));
  target_.world.fs().FailSyncsOf("");
  Begin();
  while (!target_.incoming()->Next()->file.starts_with("MANIFEST")) ASSERT_TRUE(send(1).ok());
  target_.world.LosePower({.sound_bytes = 100, .garbage_bytes = 100});
  target_.Open();
  Begin();
  EXPECT_EQ(target_.incoming()->bytes_done(), TableBytes());
  ASSERT_TRUE(send(kAllParts).ok());
  ExpectInstalls();
}

// RocksDB has written to it by then, and has put files of its own in the place of some.
TEST_F(IncomingSnapshotTest, ACrashBeforeItBecomesCompleteKeepsTheTableFiles) {
  Begin();
  ASSERT_TRUE(Send(kAllParts).ok());
  ASSERT_TRUE(target_.incoming()->Finish().ok());
  std::filesystem::rename(target_.File("incoming/complete"), target_.File("incoming/manifest"));
  target_.Open();
  EXPECT_EQ(target_.incoming()->bytes_done(), TableBytes());
  Begin();
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
}

TEST_F(IncomingSnapshotTest, AnotherOneTakesItsPlace) {
  Begin();
  ASSERT_TRUE(Send(4).ok());
  source_.Apply(chain_.Puts(Term(1), 50, 1000));
  snapshot_ = Take(chain_.last().at.index);
  Begin();
  EXPECT_EQ(target_.incoming()->bytes_done(), 0u);
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
  EXPECT_EQ(target_.state->applied_index(), chain_.last().at.index);
}

TEST_F(IncomingSnapshotTest, ADamagedPartIsDeclinedAndSentAgain) {
  Begin();
  ASSERT_TRUE(Send(2).ok());
  const uint64_t done = target_.incoming()->bytes_done();
  for (const bool in_the_bytes : {true, false}) {
    const absl::Status declined = Send(1, [&](const std::string&, SnapshotPart* part) {
      if (in_the_bytes) part->bytes[part->bytes.size() / 2] ^= 0x08;
      if (!in_the_bytes) part->checksum ^= 1;
    });
    EXPECT_TRUE(absl::IsDataLoss(declined)) << declined;
    EXPECT_EQ(target_.incoming()->bytes_done(), done);
  }
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
}

// R21: it may come late, or twice.
TEST_F(IncomingSnapshotTest, APartThatIsNotWantedIsDeclined) {
  Begin();
  const auto wanted = *target_.incoming()->Next();
  const auto part = snapshot_->Read(wanted.file, 0, 100);
  const auto write = [&](const std::string& file, uint64_t offset, const std::string& bytes) {
    return target_.incoming()->Write(file, offset, bytes, Checksum64(bytes));
  };
  EXPECT_TRUE(absl::IsFailedPrecondition(write("unknown", 0, part->bytes)));
  EXPECT_TRUE(absl::IsFailedPrecondition(write(wanted.file, 100, part->bytes)));
  EXPECT_TRUE(absl::IsFailedPrecondition(write(wanted.file, 0, "")));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(write(wanted.file, 0, std::string(wanted.bytes + 1, 'x'))));
  EXPECT_TRUE(write(wanted.file, 0, part->bytes).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(write(wanted.file, 0, part->bytes)));
  EXPECT_EQ(target_.incoming()->bytes_done(), 100u);
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
  EXPECT_TRUE(absl::IsFailedPrecondition(write(wanted.file, 0, part->bytes)));
}

// Whoever has damaged it, here or there: the parts' checksums are right.
TEST_F(IncomingSnapshotTest, AFileThatIsNotSoundIsWantedAgain) {
  for (const SnapshotFile& file : snapshot_->manifest().files) {
    if (!IsTableFile(file.name)) continue;
    SCOPED_TRACE(file.name);
    ASSERT_TRUE(target_.incoming()->Discard().ok());
    Begin();
    absl::Status status = Send(kAllParts, [&](const std::string& name, SnapshotPart* part) {
      if (name != file.name) return;
      part->bytes[part->bytes.size() / 2] ^= 0x08;
      part->checksum = Checksum64(part->bytes);
    });
    if (status.ok()) status = target_.incoming()->Finish().status();
    ASSERT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_NE(MessageOf(status).find(file.name), std::string::npos) << status;
    EXPECT_EQ(target_.incoming()->complete(), std::nullopt);
    EXPECT_FALSE(target_.Install(snapshot_->manifest().base).ok());
    const auto wanted = target_.incoming()->Next();
    ASSERT_TRUE(wanted.has_value());
    EXPECT_EQ(wanted->file, file.name);
    EXPECT_EQ(wanted->bytes, file.bytes);
    EXPECT_TRUE(wanted->suspect);
    EXPECT_FALSE(FileExists(Received(file.name)));
    EXPECT_FALSE(FileExists(Received(file.name + ".part")));
    ASSERT_TRUE(Send(kAllParts).ok());
  }
  ExpectInstalls();
}

TEST_F(IncomingSnapshotTest, ACompleteOneWaitsOverARestart) {
  Begin();
  ASSERT_TRUE(Send(kAllParts).ok());
  ASSERT_TRUE(target_.incoming()->Finish().ok());
  target_.world.LosePower();
  target_.Open();
  EXPECT_EQ(target_.incoming()->complete(), snapshot_->manifest().base);
  Begin();
  EXPECT_EQ(target_.incoming()->Next(), std::nullopt);
  ExpectInstalls();
}

TEST_F(IncomingSnapshotTest, WhatTheStateHasOvertakenGoesAtTheStart) {
  for (const bool complete : {true, false}) {
    Begin();
    ASSERT_TRUE(Send(complete ? kAllParts : 2).ok());
    if (complete) {
      ASSERT_TRUE(target_.incoming()->Finish().ok());
    }
    if (complete) target_.Apply(entries_);
    ASSERT_TRUE(target_.state->Flush().ok());
    target_.Open();
    EXPECT_EQ(target_.incoming()->bytes_total(), 0u);
    EXPECT_FALSE(FileExists(target_.File("incoming")));
  }
}

TEST_F(IncomingSnapshotTest, OnAFullDiskNothingOfItStays) {
  Begin();
  ASSERT_TRUE(Send(3).ok());
  target_.world.fs().SetFreeBytes(30'000);
  const absl::Status full = Send(kAllParts);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_NE(MessageOf(full).find(target_.File("incoming")), std::string::npos) << full;
  EXPECT_FALSE(FileExists(target_.File("incoming")));
  EXPECT_EQ(target_.incoming()->Next(), std::nullopt);
  EXPECT_TRUE(target_.BecomesEmpty("trash"));
  EXPECT_GT(*target_.world.fs().free_bytes(), 60'000u);
  target_.world.fs().SetFreeBytes(std::nullopt);
  Begin();
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
}

// The file under way was given all of its room when its first part came.
TEST_F(IncomingSnapshotTest, WhatIsThereNeedsNoRoomWhenItGoesOn) {
  target_.world.options().snapshot_disk_reserve_bytes = 1'000'000;
  target_.Open();
  Begin();
  ASSERT_TRUE(Send(2).ok());
  const auto wanted = target_.incoming()->Next();
  ASSERT_EQ(wanted->offset, 2 * kPartBytes);
  const uint64_t has_room = wanted->offset + wanted->bytes;
  const uint64_t left = snapshot_->manifest().TotalBytes() - has_room;
  target_.world.fs().SetFreeBytes(1'000'000 + left);
  Begin();
  target_.world.fs().SetFreeBytes(1'000'000 + left - 1);
  EXPECT_TRUE(absl::IsResourceExhausted(target_.incoming()->Begin(snapshot_->manifest())));
}

TEST_F(IncomingSnapshotTest, IfAFileCannotBeSyncedNothingStays) {
  Begin();
  target_.world.fs().FailSyncsOf("*.part");
  absl::Status status = Send(kAllParts);
  if (status.ok()) status = target_.incoming()->Finish().status();
  EXPECT_FALSE(status.ok() || absl::IsDataLoss(status)) << status;
  EXPECT_FALSE(FileExists(target_.File("incoming")));
  target_.world.fs().FailSyncsOf("");
  Begin();
  ASSERT_TRUE(Send(kAllParts).ok());
  ExpectInstalls();
}

TEST_F(IncomingSnapshotTest, WithoutRoomForAllOfItItDoesNotBegin) {
  target_.world.options().snapshot_disk_reserve_bytes = 1'000'000;
  target_.Open();
  const uint64_t needed = snapshot_->manifest().TotalBytes();
  target_.world.fs().SetFreeBytes(1'000'000 + needed - 1);
  const absl::Status refused = target_.incoming()->Begin(snapshot_->manifest());
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_NE(MessageOf(refused).find(std::to_string(needed)), std::string::npos) << refused;
  EXPECT_FALSE(FileExists(target_.File("incoming")));
  target_.world.fs().SetFreeBytes(1'010'000 + needed);
  Begin();
  ASSERT_TRUE(Send(3).ok());
  // Somebody else has taken the room meanwhile.
  target_.world.fs().SetFreeBytes(1'000'000);
  EXPECT_TRUE(absl::IsResourceExhausted(target_.incoming()->Begin(snapshot_->manifest())));
  EXPECT_FALSE(FileExists(target_.File("incoming")));
}

TEST_F(IncomingSnapshotTest, WhatIsNotWhatItsManifestSaysDoesNotStay) {
  SnapshotManifest manifest = snapshot_->manifest();
  manifest.base.point.chain ^= 1;
  ASSERT_TRUE(target_.incoming()->Begin(manifest).ok());
  ASSERT_TRUE(Send(kAllParts).ok());
  EXPECT_TRUE(absl::IsDataLoss(target_.incoming()->Finish().status()));
  EXPECT_FALSE(FileExists(target_.File("incoming")));
  manifest = snapshot_->manifest();
  manifest.base.membership = MembersNamed({"n9"});
  ASSERT_TRUE(target_.incoming()->Begin(manifest).ok());
  ASSERT_TRUE(Send(kAllParts).ok());
  EXPECT_TRUE(absl::IsDataLoss(target_.incoming()->Finish().status()));
}

TEST_F(IncomingSnapshotTest, WhatRocksDbCannotOpenDoesNotStay) {
  SnapshotManifest manifest = snapshot_->manifest();
  std::erase_if(manifest.files, [](const SnapshotFile& file) { return file.name == "CURRENT"; });
  ASSERT_TRUE(target_.incoming()->Begin(manifest).ok());
  ASSERT_TRUE(Send(kAllParts).ok());
  EXPECT_FALSE(target_.incoming()->Finish().ok());
  EXPECT_EQ(target_.incoming()->complete(), std::nullopt);
  EXPECT_FALSE(FileExists(target_.File("incoming")));
}

}  // namespace
}  // namespace skein
