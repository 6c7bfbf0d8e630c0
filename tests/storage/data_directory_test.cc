#include "storage/data_directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/error.h"
#include "gtest/gtest.h"
#include "replication/core/membership.h"
#include "storage/disk_space.h"
#include "storage/file_util.h"
#include "storage/text_record.h"
#include "tests/support/storage_faulty_fs.h"
#include "tests/support/temp_dir.h"

namespace skein {
namespace {

class DataDirectoryTest : public testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<DataDirectory>> Open(const std::string& cluster = "prod",
                                                      const std::string& node = "n1") {
    return DataDirectory::Open(path_, cluster, node);
  }
  std::string Refusal(const std::string& cluster = "prod", const std::string& node = "n1") {
    const auto directory = Open(cluster, node);
    return directory.ok() ? "it was opened" : MessageOf(directory.status());
  }
  void ReplaceInIdentity(const std::string& from, const std::string& to) {
    std::string text = *ReadFile(path_ + "/identity");
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    text.replace(at, from.size(), to);
    ASSERT_TRUE(ReplaceFile(path_ + "/identity", text).ok());
  }
  static bool Contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  TempDir temp_;
  const std::string path_ = temp_.File("data");
};

TEST_F(DataDirectoryTest, TheIdentityIsMadeOnceAndStays) {
  Identity first;
  {
    const auto directory = Open();
    ASSERT_TRUE(directory.ok()) << directory.status();
    first = (*directory)->identity();
    EXPECT_EQ(first.cluster_token, "prod");
    EXPECT_EQ(first.cluster_id, ClusterIdOf("prod"));
    EXPECT_EQ(first.node_name, "n1");
    EXPECT_EQ(first.node_id, NodeIdOf("n1"));
  }
  const auto again = Open();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->identity(), first);
  struct stat info;
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat((path_ + "/identity").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(DataDirectoryTest, TwoDirectoriesOfOneNodeHaveDifferentIncarnations) {
  const auto one = Open();
  const auto other = DataDirectory::Open(temp_.File("other"), "prod", "n1");
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_NE((*one)->identity().incarnation, (*other)->identity().incarnation);
}

// As releases wrote it that knew of no histories.
TEST_F(DataDirectoryTest, AnIdentityWithoutAHistoryIsRead) {
  ASSERT_TRUE(MakeDirectory(path_).ok());
  ASSERT_TRUE(
      ReplaceFile(path_ + "/identity", EncodeTextRecord({{"format", "1"},
                                                         {"cluster_id", ToHex(ClusterIdOf("prod"))},
                                                         {"cluster_token", "prod"},
                                                         {"node_id", ToHex(NodeIdOf("n1").value())},
                                                         {"node_name", "n1"},
                                                         {"incarnation", "000000000000002a"}}))
          .ok());
  const auto directory = Open();
  ASSERT_TRUE(directory.ok()) << directory.status();
  EXPECT_EQ((*directory)->identity().history, 0u);
  EXPECT_EQ((*directory)->identity().cluster_id, ClusterIdOf("prod"));
  EXPECT_EQ((*directory)->identity().incarnation, 42u);
}

TEST_F(DataDirectoryTest, TheHistoryOfTheClusterStays) {
  const uint64_t history = NewHistoryOf("prod");
  ASSERT_TRUE(DataDirectory::Open(path_, "prod", "n1", history).ok());
  const auto again = Open();
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->identity().history, history);
  EXPECT_EQ((*again)->identity().cluster_id, ClusterIdOf("prod", history));
  EXPECT_EQ(ClusterIdOf("prod", history) ^ history, ClusterIdOf("prod"));
}

TEST_F(DataDirectoryTest, ASecondUserIsRefusedWithThePidOfTheFirst) {
  auto first = Open();
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(Contains(Refusal(), "in use by process " + std::to_string(::getpid())));
  first->reset();
  EXPECT_TRUE(Open().ok());
}

TEST_F(DataDirectoryTest, ADirectoryOfAnotherNodeOrClusterIsRefusedNamingBoth) {
  ASSERT_TRUE(Open("prod", "n1").ok());
  EXPECT_TRUE(Contains(Refusal("prod", "n2"), "belongs to node n1, not to node n2"));
  EXPECT_TRUE(Contains(Refusal("test", "n1"), "belongs to cluster prod, not to cluster test"));
  EXPECT_TRUE(Open("prod", "n1").ok());
}

TEST_F(DataDirectoryTest, ANewerFormatIsRefusedNamingBoth) {
  ASSERT_TRUE(Open().ok());
  ReplaceInIdentity("format 1\n", "format 7\n");
  EXPECT_TRUE(Contains(Refusal(), "has format 7, this program reads up to format 1"));
}

TEST_F(DataDirectoryTest, ADamagedIdentityIsRefused) {
  ASSERT_TRUE(Open().ok());
  ReplaceInIdentity("node_name n1", "node_name n3");
  EXPECT_EQ(Open("prod", "n3").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Open("prod", "n1").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DataDirectoryTest, DataWithoutAnIdentityIsRefused) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(MakeDirectory(path_ + "/log").ok());
  std::filesystem::remove(path_ + "/identity");
  EXPECT_TRUE(Contains(Refusal(), "has lost its file identity"));
}

TEST_F(DataDirectoryTest, AFileInItsPlaceIsRefused) {
  std::ofstream(path_) << "not a directory";
  EXPECT_TRUE(Contains(Refusal(), path_));
}

TEST_F(DataDirectoryTest, AnUnwritableDirectoryIsRefused) {
  ASSERT_EQ(::chmod(temp_.path().c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(path_.c_str(), 0555), 0);
  // Permissions do not bind the superuser, so be somebody else for a moment.
  const uid_t self = ::geteuid();
  if (self == 0) {
    ASSERT_EQ(::seteuid(65534), 0);
  }
  const std::string refusal = Refusal();
  if (self == 0) {
    ASSERT_EQ(::seteuid(self), 0);
  }
  EXPECT_TRUE(Contains(refusal, "Permission denied")) << refusal;
}

TEST_F(DataDirectoryTest, LeftoversAreRemoved) {
  ASSERT_TRUE(Open().ok());
  std::ofstream(path_ + "/identity.tmp") << "half";
  std::ofstream(path_ + "/notes.txt") << "kept";
  ASSERT_TRUE(Open().ok());
  EXPECT_FALSE(FileExists(path_ + "/identity.tmp"));
  EXPECT_TRUE(FileExists(path_ + "/notes.txt"));
}

TEST_F(DataDirectoryTest, APeerIsRememberedWhenFirstSeen) {
  {
    const auto directory = Open();
    ASSERT_TRUE(directory.ok());
    EXPECT_TRUE((*directory)->CheckPeer(NodeId(2), 100).ok());
    EXPECT_TRUE((*directory)->CheckPeer(NodeId(3), 200).ok());
    EXPECT_TRUE((*directory)->CheckPeer(NodeId(2), 100).ok());
    EXPECT_FALSE((*directory)->CheckPeer(NodeId(2), 101).ok());
  }
  const auto directory = Open();
  ASSERT_TRUE(directory.ok());
  const absl::Status refused = (*directory)->CheckPeer(NodeId(3), 201);
  EXPECT_EQ(DetailOf(refused).reason, ErrorReason::kPeerRefused);
  EXPECT_TRUE(Contains(MessageOf(refused), "was replaced"));
  EXPECT_TRUE((*directory)->CheckPeer(NodeId(3), 200).ok());
}

TEST_F(DataDirectoryTest, APeerThatIsForgottenMayComeWithAnotherDirectory) {
  {
    const auto directory = Open();
    ASSERT_TRUE(directory.ok());
    for (uint64_t peer = 2; peer <= 4; ++peer) {
      ASSERT_TRUE((*directory)->CheckPeer(NodeId(peer), 100).ok());
    }
    (*directory)->ForgetPeersExcept({NodeId(2), NodeId(3)});
    (*directory)->ForgetPeersExcept({NodeId(2), NodeId(4)});
    EXPECT_FALSE((*directory)->CheckPeer(NodeId(2), 101).ok());
    EXPECT_TRUE((*directory)->CheckPeer(NodeId(3), 101).ok());
    EXPECT_TRUE((*directory)->SavePeers().ok());
  }
  const auto directory = Open();
  ASSERT_TRUE(directory.ok());
  EXPECT_FALSE((*directory)->CheckPeer(NodeId(2), 101).ok());
  EXPECT_FALSE((*directory)->CheckPeer(NodeId(3), 100).ok());
  EXPECT_TRUE((*directory)->CheckPeer(NodeId(4), 101).ok());
}

TEST_F(DataDirectoryTest, WhatIsForgottenIsSoOnTheDiskOnceItIsSaved) {
  {
    const auto directory = Open();
    ASSERT_TRUE(directory.ok());
    ASSERT_TRUE((*directory)->CheckPeer(NodeId(2), 100).ok());
    (*directory)->ForgetPeersExcept({});
    ASSERT_TRUE((*directory)->SavePeers().ok());
  }
  const auto directory = Open();
  ASSERT_TRUE(directory.ok());
  EXPECT_TRUE((*directory)->CheckPeer(NodeId(2), 101).ok());
}

TEST_F(DataDirectoryTest, ADirectoryCanBeLookedInto) {
  const auto none = DataDirectory::Peek(path_);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_FALSE(none->has_value());
  const auto directory = Open();
  ASSERT_TRUE(directory.ok());
  const auto found = DataDirectory::Peek(path_);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, (*directory)->identity());
  std::ofstream(path_ + "/identity") << "damaged";
  EXPECT_FALSE(DataDirectory::Peek(path_).ok());
}

TEST_F(DataDirectoryTest, ADamagedPeersFileIsRefused) {
  {
    const auto directory = Open();
    ASSERT_TRUE(directory.ok());
    ASSERT_TRUE((*directory)->CheckPeer(NodeId(2), 100).ok());
  }
  std::string text = *ReadFile(path_ + "/peers");
  text[0] = text[0] == '0' ? '1' : '0';
  ASSERT_TRUE(ReplaceFile(path_ + "/peers", text).ok());
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DataDirectoryTest, NamesThatCannotBeWrittenDownAreRefused) {
  EXPECT_EQ(Open("a\nb", "n1").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Open("prod", "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(FreeBytesTest, AsksTheFileSystemThatTheDataIsOn) {
  TempDir temp;
  StorageOptions options;
  EXPECT_GT(FreeBytes(options, temp.path()).value(), 0u);
  EXPECT_EQ(FreeBytes(options, temp.File("missing")).status().code(), absl::StatusCode::kNotFound);
  const auto fs = std::make_shared<FaultyFs>();
  const auto env = NewEnvOver(fs);
  options.env = env.get();
  EXPECT_GT(FreeBytes(options, temp.path()).value(), 0u);
  fs->SetFreeBytes(12345);
  EXPECT_EQ(FreeBytes(options, temp.path()).value(), 12345u);
}

TEST(TextRecordTest, EveryFlippedBitAndEveryTruncationIsNoticed) {
  const TextFields fields = {{"name", "a value"}, {"other", ""}};
  const std::string text = EncodeTextRecord(fields);
  ASSERT_EQ(DecodeTextRecord(text), fields);
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(DecodeTextRecord(text.substr(0, size)).has_value()) << size;
  }
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    EXPECT_FALSE(DecodeTextRecord(flipped).has_value()) << bit;
  }
}

}  // namespace
}  // namespace skein
