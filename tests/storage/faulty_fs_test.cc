// The faults themselves: a test on a disk that only seems to fail would show nothing.
#include <chrono>
#include <filesystem>
#include <future>
#include <string>

#include "gtest/gtest.h"
#include "storage/file_util.h"
#include "tests/support/storage_faulty_fs.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::seconds;

class FaultyFsTest : public testing::Test {
 protected:
  // A new file, with its directory synced.
  std::unique_ptr<rocksdb::WritableFile> Make(const std::string& name) {
    std::unique_ptr<rocksdb::WritableFile> file;
    EXPECT_TRUE(env_->NewWritableFile(temp_.File(name), &file, {}).ok());
    SyncDirectory(std::filesystem::path(temp_.File(name)).parent_path());
    return file;
  }
  void SyncDirectory(const std::string& path) {
    std::unique_ptr<rocksdb::Directory> directory;
    ASSERT_TRUE(env_->NewDirectory(path, &directory).ok());
    ASSERT_TRUE(directory->Fsync().ok());
  }
  std::string Content(const std::string& name) const {
    return ReadFile(temp_.File(name)).value_or("(none)");
  }
  // 10 synced bytes, 10 more that are not.
  void WriteTwenty(const std::string& name) {
    const auto file = Make(name);
    ASSERT_TRUE(file->Append("0123456789").ok());
    ASSERT_TRUE(file->Sync().ok());
    ASSERT_TRUE(file->Append("abcdefghij").ok());
    ASSERT_TRUE(file->Flush().ok());
  }

  TempDir temp_;
  const std::shared_ptr<FaultyFs> fs_ = std::make_shared<FaultyFs>();
  const std::unique_ptr<rocksdb::Env> env_ = NewEnvOver(fs_);
};

TEST_F(FaultyFsTest, ACrashLeavesWhatWasSynced) {
  WriteTwenty("a");
  fs_->Crash();
  EXPECT_EQ(Content("a"), "0123456789");
}

TEST_F(FaultyFsTest, ATornTailEndsAtAnyByte) {
  WriteTwenty("a");
  fs_->Crash({.sound_bytes = 3});
  EXPECT_EQ(Content("a"), "0123456789abc");
}

TEST_F(FaultyFsTest, ATornTailCanHoldGarbage) {
  WriteTwenty("a");
  fs_->Crash({.sound_bytes = 3, .garbage_bytes = 100});
  const std::string content = Content("a");
  ASSERT_EQ(content.size(), 20u);
  EXPECT_EQ(content.substr(0, 13), "0123456789abc");
  EXPECT_NE(content.substr(13), "defghij");
}

TEST_F(FaultyFsTest, AKillLosesNothingAndACrashTheFilesThatNobodyCanFind) {
  WriteTwenty("a");
  std::unique_ptr<rocksdb::WritableFile> file;
  ASSERT_TRUE(env_->NewWritableFile(temp_.File("b"), &file, {}).ok());
  ASSERT_TRUE(file->Append("lost").ok() && file->Sync().ok());
  fs_->Crash();
  EXPECT_FALSE(file->Append("more").ok());
  EXPECT_EQ(Content("b"), "(none)");
  const auto other = std::make_shared<FaultyFs>();
  const auto env = NewEnvOver(other);
  ASSERT_TRUE(env->NewWritableFile(temp_.File("c"), &file, {}).ok());
  ASSERT_TRUE(file->Append("kept").ok() && file->Flush().ok());
  other->Kill();
  EXPECT_FALSE(file->Append("more").ok());
  EXPECT_EQ(Content("c"), "kept");
}

TEST_F(FaultyFsTest, ADirectoryTakesItsFilesAlong) {
  std::filesystem::create_directory(temp_.File("old"));
  WriteTwenty("old/a");
  std::unique_ptr<rocksdb::WritableFile> file;
  ASSERT_TRUE(env_->NewWritableFile(temp_.File("old/b"), &file, {}).ok());
  SyncDirectory(temp_.File("old"));
  ASSERT_TRUE(env_->NewWritableFile(temp_.File("old/c"), &file, {}).ok());
  ASSERT_TRUE(env_->RenameFile(temp_.File("old"), temp_.File("new")).ok());
  fs_->Crash();
  EXPECT_EQ(Content("new/a"), "0123456789");
  EXPECT_EQ(Content("new/b"), "");
  EXPECT_EQ(Content("new/c"), "(none)");
}

TEST_F(FaultyFsTest, ALinkIsANameOfItsOwn) {
  WriteTwenty("a");
  ASSERT_TRUE(env_->LinkFile(temp_.File("a"), temp_.File("b")).ok());
  SyncDirectory(temp_.path());
  ASSERT_TRUE(env_->LinkFile(temp_.File("a"), temp_.File("c")).ok());
  fs_->SetFreeBytes(0);
  ASSERT_TRUE(env_->DeleteFile(temp_.File("a")).ok());
  EXPECT_EQ(fs_->free_bytes(), 0u) << "its bytes are still there";
  fs_->Crash();
  EXPECT_EQ(Content("b"), "0123456789");
  EXPECT_EQ(Content("c"), "(none)");
}

TEST_F(FaultyFsTest, AfterACrashDirectoriesStayAsTheyAre) {
  WriteTwenty("a");
  ASSERT_TRUE(env_->CreateDir(temp_.File("dir")).ok());
  fs_->Crash();
  EXPECT_FALSE(env_->CreateDir(temp_.File("other")).ok());
  EXPECT_FALSE(env_->CreateDirIfMissing(temp_.File("other")).ok());
  EXPECT_FALSE(env_->RenameFile(temp_.File("dir"), temp_.File("other")).ok());
  EXPECT_FALSE(env_->LinkFile(temp_.File("a"), temp_.File("b")).ok());
  EXPECT_FALSE(env_->DeleteDir(temp_.File("dir")).ok());
  EXPECT_TRUE(FileExists(temp_.File("dir")));
  EXPECT_FALSE(FileExists(temp_.File("other")) || FileExists(temp_.File("b")));
}

TEST_F(FaultyFsTest, ItCrashesInsteadOfAChangeByItsNumber) {
  const auto file = Make("a");
  const uint64_t before = fs_->changes();
  fs_->CrashAtChange(before + 3);
  EXPECT_TRUE(file->Append("1").ok());
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_FALSE(fs_->crashed());
  EXPECT_FALSE(file->Append("2").ok());
  EXPECT_TRUE(fs_->crashed());
  EXPECT_EQ(Content("a"), "1");
}

TEST_F(FaultyFsTest, ASyncFailsWhereItIsTold) {
  const auto log = Make("a.log");
  const auto other = Make("a.txt");
  fs_->FailSyncsOf("*.log");
  EXPECT_NE(log->Sync().ToString().find(temp_.File("a.log")), std::string::npos);
  EXPECT_TRUE(other->Sync().ok());
  fs_->FailSyncsOf("");
  EXPECT_TRUE(log->Sync().ok());
}

TEST_F(FaultyFsTest, ASyncHangsUntilItIsReleasedOrThePowerGoes) {
  const auto file = Make("a.log");
  for (const bool crash : {false, true}) {
    fs_->HangSyncsOf("*.log");
    auto sync = std::async(std::launch::async, [&] { return file->Sync().ok(); });
    ASSERT_TRUE(WaitUntil(seconds(20), [&] { return fs_->hanging() == 1; }));
    EXPECT_EQ(sync.wait_for(seconds(0)), std::future_status::timeout);
    if (crash) {
      fs_->Crash();
    } else {
      fs_->HangSyncsOf("");
    }
    EXPECT_EQ(sync.get(), !crash);
    EXPECT_EQ(fs_->hanging(), 0);
  }
}

TEST_F(FaultyFsTest, AFullDiskTakesWhatFitsAndGetsBackWhatIsDeleted) {
  const auto file = Make("a");
  fs_->SetFreeBytes(4);
  const rocksdb::Status status = file->Append("0123456789");
  EXPECT_TRUE(status.IsNoSpace()) << status.ToString();
  ASSERT_TRUE(file->Flush().ok());
  EXPECT_EQ(Content("a"), "0123");
  uint64_t free = 1;
  ASSERT_TRUE(env_->GetFreeSpace(temp_.path(), &free).ok());
  EXPECT_EQ(free, 0u);
  ASSERT_TRUE(env_->DeleteFile(temp_.File("a")).ok());
  EXPECT_EQ(fs_->free_bytes(), 4u);
  fs_->SetFreeBytes(std::nullopt);
  EXPECT_TRUE(Make("b")->Append("0123456789").ok());
}

TEST_F(FaultyFsTest, ReadsFailOrSeeAFlippedBit) {
  WriteTwenty("a");
  std::unique_ptr<rocksdb::RandomAccessFile> file;
  ASSERT_TRUE(env_->NewRandomAccessFile(temp_.File("a"), &file, {}).ok());
  std::string content;
  char scratch[20];
  rocksdb::Slice read;
  fs_->FlipBitInReadsOf("*/a", 7);
  ASSERT_TRUE(file->Read(5, 5, &read, scratch).ok());
  EXPECT_EQ(read.ToString(), "56389");  // 7 is 0x37, 3 is 0x33
  ASSERT_TRUE(rocksdb::ReadFileToString(env_.get(), temp_.File("a"), &content).ok());
  EXPECT_EQ(content.substr(0, 10), "0123456389");
  fs_->FailReadsOf("*/a");
  EXPECT_FALSE(file->Read(5, 5, &read, scratch).ok());
  EXPECT_FALSE(rocksdb::ReadFileToString(env_.get(), temp_.File("a"), &content).ok());
  fs_->FailReadsOf("");
  fs_->FlipBitInReadsOf("", 0);
  ASSERT_TRUE(file->Read(5, 5, &read, scratch).ok());
  EXPECT_EQ(read.ToString(), "56789");
  FlipBit(temp_.File("a"), 9);
  EXPECT_EQ(Content("a").substr(0, 10), "012345678=");
}

}  // namespace
}  // namespace skein
