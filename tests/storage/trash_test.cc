#include "storage/trash.h"

#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

class TrashTest : public testing::Test {
 protected:
  TrashTest() { Open(); }

  void Open() {
    trash_.reset();
    auto trash = Trash::Open(options_, temp_.path());
    ASSERT_TRUE(trash.ok()) << trash.status();
    trash_ = *std::move(trash);
  }
  // With a folder in it, and two files of 1,000 bytes.
  void MakeDirectory(const std::string& name) {
    fs::create_directories(temp_.File(name + "/folder"));
    for (const char* file : {"/a", "/folder/b"}) {
      std::ofstream(temp_.File(name + file)) << std::string(1000, 'x');
    }
  }
  size_t FilesLeft() const {
    size_t files = 0;
    std::error_code ignored;  // they go meanwhile
    for (const auto& file : fs::recursive_directory_iterator(temp_.File("trash"), ignored)) {
      if (file.is_regular_file(ignored)) ++files;
    }
    return files;
  }
  bool BecomesEmpty() const {
    return WaitUntil(std::chrono::seconds(20),
                     [this] { return fs::is_empty(temp_.File("trash")); });
  }

  TempDir temp_;
  StorageOptions options_;
  std::unique_ptr<Trash> trash_;
};

TEST_F(TrashTest, WhatIsDiscardedIsOutOfTheWayAtOnceAndGoneSoon) {
  for (int i = 0; i < 3; ++i) {
    MakeDirectory("data");
    ASSERT_TRUE(trash_->Discard(temp_.File("data")).ok());
    EXPECT_FALSE(fs::exists(temp_.File("data")));
  }
  std::ofstream(temp_.File("file")) << "x";
  ASSERT_TRUE(trash_->Discard(temp_.File("file")).ok());
  EXPECT_TRUE(BecomesEmpty());
  EXPECT_TRUE(trash_->Discard(temp_.File("data")).ok()) << "it is not there";
}

TEST_F(TrashTest, ItTakesItsTimeAndGoesOnAfterTheNextStart) {
  options_.delete_bytes_per_second = 1;
  Open();
  MakeDirectory("data");
  MakeDirectory("more");
  ASSERT_TRUE(trash_->Discard(temp_.File("data")).ok());
  ASSERT_TRUE(WaitUntil(std::chrono::seconds(20), [this] { return FilesLeft() == 1; }));
  ASSERT_TRUE(trash_->Discard(temp_.File("more")).ok());
  EXPECT_FALSE(WaitUntil(std::chrono::milliseconds(200), [this] { return FilesLeft() < 3; }))
      << "the first file is worth 1,000 seconds";
  options_.delete_bytes_per_second = 1 << 20;
  Open();  // does not wait for the slow one
  EXPECT_TRUE(BecomesEmpty());
}

TEST_F(TrashTest, AnotherNameOfAFileKeepsItsContent) {
  MakeDirectory("data");
  fs::create_hard_link(temp_.File("data/a"), temp_.File("kept"));
  ASSERT_TRUE(trash_->Discard(temp_.File("data")).ok());
  EXPECT_TRUE(BecomesEmpty());
  EXPECT_EQ(fs::file_size(temp_.File("kept")), 1000u);
}

}  // namespace
}  // namespace skein
