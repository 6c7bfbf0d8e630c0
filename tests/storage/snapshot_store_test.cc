// Snapshots of a state, for others.
#include "storage/snapshot_store.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "common/checksum.h"
#include "storage/snapshot_file.h"
#include "tests/storage/snapshot_fixture.h"

namespace skein {
namespace {

using SnapshotStoreTest = SnapshotTest;

TEST_F(SnapshotStoreTest, TheManifestSaysWhatIsThere) {
  FillSource();
  const auto snapshot = Take();
  ASSERT_NE(snapshot, nullptr);
  const SnapshotManifest& manifest = snapshot->manifest();
  EXPECT_EQ(manifest.base.point, chain_.last());
  EXPECT_EQ(manifest.base.membership, MembersNamed({"n1", "n3"}));
  EXPECT_GE(manifest.files.size(), 4u);
  uint64_t bytes = 0;
  for (const SnapshotFile& file : manifest.files) {
    const auto content = ReadFile(source_.File("snapshots/" + manifest.id + "/state/" + file.name));
    ASSERT_TRUE(content.ok()) << content.status();
    EXPECT_EQ(content->size(), file.bytes);
    bytes += file.bytes;
  }
  EXPECT_EQ(manifest.TotalBytes(), bytes);
  const auto on_disk = ReadFile(source_.File("snapshots/" + manifest.id + "/manifest"));
  EXPECT_EQ(DecodeSnapshotManifest(*on_disk).value(), manifest);
}

TEST_F(SnapshotStoreTest, APartComesWithItsChecksumAndEndsWithTheFile) {
  FillSource();
  const auto snapshot = Take();
  const auto file = std::ranges::max_element(snapshot->manifest().files, {}, &SnapshotFile::bytes);
  std::string content;
  while (content.size() < file->bytes) {
    const auto part = snapshot->Read(file->name, content.size(), 10'000);
    ASSERT_TRUE(part.ok()) << part.status();
    EXPECT_EQ(part->bytes.size(), std::min<size_t>(10'000, file->bytes - content.size()));
    EXPECT_EQ(part->checksum, Checksum64(part->bytes));
    content += part->bytes;
  }
  const std::string id = snapshot->manifest().id;
  EXPECT_EQ(content, *ReadFile(source_.File("snapshots/" + id + "/state/" + file->name)));
  EXPECT_TRUE(absl::IsInvalidArgument(snapshot->Read(file->name, file->bytes, 1).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(snapshot->Read("../manifest", 0, 1).status()));
}

TEST_F(SnapshotStoreTest, OneInUseIsSharedAsLongAsItIsFarEnough) {
  FillSource();
  const auto first = Take();
  EXPECT_EQ(Take(first->manifest().base.point.at.index), first);
  EXPECT_EQ(source_.snapshots->Find(first->manifest().id), first);
  source_.Apply(chain_.Puts(Term(1), 1));
  EXPECT_EQ(Take(), first);
  const auto second = Take(chain_.last().at.index);
  EXPECT_NE(second, first);
  EXPECT_EQ(second->manifest().base.point, chain_.last());
  EXPECT_EQ(Take(), second) << "the newer one of two";
}

TEST_F(SnapshotStoreTest, AnOldOneIsNotGivenToThoseWhoComeNow) {
  source_.world.options().snapshot_reuse_max_ms = 0;
  source_.Open();
  FillSource();
  const auto first = Take();
  const auto second = Take();
  EXPECT_NE(first, second);
  EXPECT_EQ(source_.snapshots->Find(first->manifest().id), first);
}

TEST_F(SnapshotStoreTest, ItGoesWithItsLastUser) {
  FillSource();
  auto snapshot = Take();
  auto shared = Take();
  const std::string id = snapshot->manifest().id;
  snapshot.reset();
  EXPECT_TRUE(FileExists(source_.File("snapshots/" + id + "/manifest")));
  EXPECT_TRUE(shared->Read(shared->manifest().files[0].name, 0, 1).ok());
  shared.reset();
  EXPECT_TRUE(source_.IsEmpty("snapshots"));
  EXPECT_EQ(source_.snapshots->Find(id), nullptr);
  EXPECT_TRUE(source_.BecomesEmpty("trash"));
  // Its files were those of the state as well.
  EXPECT_TRUE((*source_.state->Get("key1")).has_value());
  EXPECT_NE(Take()->manifest().id, id);
}

TEST_F(SnapshotStoreTest, WhatACrashHasLeftGoesAtTheStart) {
  FillSource();
  const auto snapshot = Take();
  const std::string id = snapshot->manifest().id;
  std::filesystem::copy(source_.File("snapshots/" + id), source_.File("snapshots/half"),
                        std::filesystem::copy_options::recursive);
  source_.Open();
  EXPECT_TRUE(source_.IsEmpty("snapshots"));
  EXPECT_TRUE(source_.BecomesEmpty("trash"));
}

// The source's state is what it was, and half a snapshot is given to nobody.
TEST_F(SnapshotStoreTest, ACrashAtAnyChangeOfTheDiskLeavesTheStateAlone) {
  FillSource();
  int made = 0;
  uint64_t point = 1;
  for (bool crashed = true; crashed; ++point) {
    SCOPED_TRACE(point);
    Node node;
    node.world.options().state_memtable_bytes = 64 << 10;
    ASSERT_NO_FATAL_FAILURE(node.Open());
    node.Apply(entries_);
    FaultyFs& fs = node.world.fs();
    fs.CrashAtChange(fs.changes() + point, {.sound_bytes = point * 97 % 900});
    if (node.snapshots->Get(Index(1)).ok()) ++made;
    crashed = fs.crashed();
    node.world.LosePower();
    ASSERT_NO_FATAL_FAILURE(node.Open());
    EXPECT_TRUE(node.IsEmpty("snapshots"));
    EXPECT_TRUE(node.BecomesEmpty("trash"));
    // What was not flushed is in the log.
    const size_t kept = node.state->Recovered().at.index.value();
    if (kept < entries_.size()) {
      node.Apply({entries_.begin() + static_cast<long>(kept), entries_.end()});
    }
    EXPECT_EQ(node.Digest(), source_.Digest());
    EXPECT_TRUE(node.snapshots->Get(Index(1)).ok());
  }
  EXPECT_GT(point, 20U);
  EXPECT_GT(made, 0);
}

TEST_F(SnapshotStoreTest, WhoComeTogetherGetTheSame) {
  FillSource();
  std::vector<std::shared_ptr<const Snapshot>> taken(4);
  {
    std::vector<std::jthread> threads;
    for (auto& snapshot : taken) threads.emplace_back([&] { snapshot = Take(); });
  }
  for (const auto& snapshot : taken) EXPECT_EQ(snapshot, taken[0]);
}

TEST_F(SnapshotStoreTest, WhatIsNotAppliedYetIsNotPromised) {
  EXPECT_TRUE(absl::IsUnavailable(source_.snapshots->Get(Index(0)).status()));
  FillSource();
  const Index next = chain_.last().at.index.Next();
  EXPECT_TRUE(absl::IsUnavailable(source_.snapshots->Get(next).status()));
}

TEST_F(SnapshotStoreTest, WhoSuspectsAFileIsToldWhetherItIsDamaged) {
  FillSource();
  const auto snapshot = Take();
  EXPECT_TRUE(absl::IsInvalidArgument(snapshot->Verify("../../state/000001.sst")));
  for (const SnapshotFile& file : snapshot->manifest().files) {
    EXPECT_TRUE(snapshot->Verify(file.name).ok()) << file.name;
    if (!IsTableFile(file.name)) continue;
    FlipBitAt(source_.File("snapshots/" + snapshot->manifest().id + "/state/" + file.name), 0.3);
    const absl::Status damaged = snapshot->Verify(file.name);
    EXPECT_TRUE(absl::IsDataLoss(damaged)) << damaged;
    EXPECT_NE(MessageOf(damaged).find(file.name), std::string::npos) << damaged;
  }
}

TEST_F(SnapshotStoreTest, AFullDiskIsSaidAndLeavesNothing) {
  FillSource();
  ASSERT_TRUE(source_.state->Flush().ok());
  source_.world.fs().SetFreeBytes(100);
  const auto snapshot = source_.snapshots->Get(Index(1));
  EXPECT_TRUE(absl::IsResourceExhausted(snapshot.status())) << snapshot.status();
  EXPECT_TRUE(source_.IsEmpty("snapshots"));
  source_.world.fs().SetFreeBytes(std::nullopt);
  EXPECT_NE(Take(), nullptr);
}

SnapshotManifest SomeManifest() {
  return {.id = "00000000000000000007-0123456789abcdef",
          .base = {{.at = {Term(2), Index(7)}, .chain = 5, .revision = Revision(6)},
                   MembersNamed({"n1", "n2"})},
          .cluster_time_ms = 12345,
          .files = {{"000012.sst", 4096}, {"CURRENT", 16}}};
}

TEST(SnapshotManifestTest, EveryFlippedBitAndEveryCutIsNoticed) {
  const std::string bytes = EncodeSnapshotManifest(SomeManifest());
  EXPECT_EQ(DecodeSnapshotManifest(bytes).value(), SomeManifest());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    EXPECT_TRUE(absl::IsDataLoss(DecodeSnapshotManifest(flipped).status())) << bit;
    EXPECT_FALSE(DecodeSnapshotManifest(bytes.substr(0, bit / 8)).ok()) << bit;
  }
}

// It comes from another node: it must not name a file anywhere else.
TEST(SnapshotManifestTest, NamesAreNamesAndOccurOnce) {
  for (const char* name :
       {"", ".", "..", "../identity", "/etc/passwd", "a/b", ".hidden", "a b", "a\nb"}) {
    SnapshotManifest manifest = SomeManifest();
    manifest.files[0].name = name;
    EXPECT_FALSE(DecodeSnapshotManifest(EncodeSnapshotManifest(manifest)).ok()) << name;
    manifest = SomeManifest();
    manifest.id = name;
    EXPECT_FALSE(DecodeSnapshotManifest(EncodeSnapshotManifest(manifest)).ok()) << name;
  }
  SnapshotManifest manifest = SomeManifest();
  manifest.files[1] = manifest.files[0];
  EXPECT_FALSE(DecodeSnapshotManifest(EncodeSnapshotManifest(manifest)).ok());
  manifest = SomeManifest();
  manifest.files[0].bytes = manifest.files[1].bytes = uint64_t{1} << 62;
  EXPECT_FALSE(DecodeSnapshotManifest(EncodeSnapshotManifest(manifest)).ok());
}

}  // namespace
}  // namespace skein
