// What is cut off from a log is kept for the operator (R29).
#include "storage/divergent_tail.h"

#include <filesystem>
#include <fstream>

#include "tests/storage/rocks_log_store_fixture.h"

namespace skein {
namespace {

class DivergentTailTest : public RocksLogStoreTest {
 protected:
  // 12 durable entries of term 1, the last four of which `tail` then holds.
  void WriteTwelve(size_t value_bytes = 300) {
    chain_ = EntryChain();
    entries_ = chain_.Puts(Term(1), 12, value_bytes);
    WriteAndWait({.hard_state = HardState{.term = Term(1)}, .entries = entries_});
  }
  std::vector<EntryPtr> LastFour() const { return {entries_.begin() + 8, entries_.end()}; }
  // Entries of term 2 take the place of the last four.
  LogWrite Replacement() {
    EntryChain other(entries_[7]->point());
    return {.hard_state = HardState{.term = Term(2)},
            .truncate_from = Index(9),
            .entries = other.Puts(Term(2), 2)};
  }
  std::vector<DivergentTail::File> Files() {
    const auto files = DivergentTail::List(world().directory().path());
    EXPECT_TRUE(files.ok()) << files.status();
    return files.ok() ? *files : std::vector<DivergentTail::File>();
  }
  void ExpectHolds(const DivergentTail::File& file, const std::vector<EntryPtr>& entries) {
    EXPECT_EQ(file.first, entries.front()->index());
    EXPECT_EQ(file.last, entries.back()->index());
    EXPECT_EQ(file.term, entries.back()->term());
    EXPECT_EQ(file.bytes, std::filesystem::file_size(file.path));
    const absl::StatusOr<DivergentTail> tail = DivergentTail::Read(file.path);
    ASSERT_TRUE(tail.ok()) << tail.status();
    EXPECT_EQ(tail->after().at.index, entries.front()->index().Previous());
    ASSERT_EQ(PointsOf(tail->entries()), PointsOf(entries));
    for (size_t i = 0; i < entries.size(); ++i) {
      EXPECT_EQ(tail->entries()[i]->frame(), entries[i]->frame());
    }
  }

  std::vector<EntryPtr> entries_;
};

TEST_F(DivergentTailTest, WhatATruncationRemovesReadsBackAfterALossOfPower) {
  Open();
  EXPECT_TRUE(Files().empty());
  WriteTwelve();
  WriteAndWait(Replacement());
  world().LosePower();
  ASSERT_EQ(Files().size(), 1u);
  ExpectHolds(Files()[0], LastFour());
}

TEST_F(DivergentTailTest, ALongTailIsWholeToo) {
  Open();
  WriteTwelve(5 << 20);  // more than is read at a time
  WriteAndWait({.truncate_from = Index(2)});
  ASSERT_EQ(Files().size(), 1u);
  ExpectHolds(Files()[0], {entries_.begin() + 1, entries_.end()});
}

TEST_F(DivergentTailTest, ATailWithoutCommandsIsNotKept) {
  Open();
  WriteTwelve();
  WriteAndWait({.entries = {chain_.NoOp(Term(1)), chain_.Change(Term(1), MembersNamed({"n1"}))}});
  WriteAndWait({.truncate_from = Index(13)});
  EXPECT_TRUE(Files().empty());
  WriteAndWait({.truncate_from = Index(13)});  // nothing is left to cut
  EXPECT_TRUE(Files().empty());
}

// What was known to be committed is in the snapshot; what came after may be nowhere else.
TEST_F(DivergentTailTest, AResetKeepsWhatWasNotKnownToBeCommitted) {
  Open();
  WriteTwelve();
  WriteAndWait({.hard_state = HardState{.term = Term(1), .commit = Index(8)}});
  EntryChain other;
  other.Puts(Term(2), 100);
  WriteAndWait({.hard_state = HardState{.term = Term(2), .commit = Index(100)},
                .reset = LogBase{other.last(), {}}});
  ASSERT_EQ(Files().size(), 1u);
  ExpectHolds(Files()[0], LastFour());
}

TEST_F(DivergentTailTest, AResetOfWhatIsAllCommittedKeepsNothing) {
  Open();
  WriteTwelve();
  WriteAndWait({.hard_state = HardState{.term = Term(1), .commit = Index(12)}});
  EntryChain other;
  other.Puts(Term(2), 100);
  WriteAndWait({.reset = LogBase{other.last(), {}}});
  EXPECT_TRUE(Files().empty());
}

TEST_F(DivergentTailTest, FilesAreListedInTheOrderOfTheirMaking) {
  Open();
  WriteTwelve();
  // Each term cuts off what the one before it has brought, the later ones a bit further on.
  std::vector<std::vector<EntryPtr>> cut = {LastFour()};
  LogPoint after = entries_[7]->point();
  for (uint64_t term = 2; term <= 11; ++term) {
    const std::vector<EntryPtr> entries =
        EntryChain(after).Puts(Term(term), 12 - static_cast<int>(term));
    WriteAndWait({.hard_state = HardState{.term = Term(term)},
                  .truncate_from = after.at.index.Next(),
                  .entries = entries});
    const bool keeps_one = term % 3 == 0;
    cut.emplace_back(entries.begin() + (keeps_one ? 1 : 0), entries.end());
    if (keeps_one) after = entries[0]->point();
  }
  const std::vector<DivergentTail::File> files = Files();
  ASSERT_EQ(files.size(), cut.size() - 1);
  for (size_t i = 0; i < files.size(); ++i) ExpectHolds(files[i], cut[i]);
}

TEST_F(DivergentTailTest, TheOldestGoWhenThereAreTooMany) {
  world().options().divergent_bytes_max = 5000;
  Open();
  WriteTwelve();
  // Each is about 1,500 bytes.
  EntryChain chain(entries_[7]->point());
  for (uint64_t term = 2; term <= 10; ++term) {
    WriteAndWait({.hard_state = HardState{.term = Term(term)},
                  .truncate_from = chain.last().at.index.Next(),
                  .entries = EntryChain(chain.last()).Puts(Term(term), 4, 300)});
  }
  const std::vector<DivergentTail::File> files = Files();
  ASSERT_EQ(files.size(), 3u);
  EXPECT_EQ(files.front().term, Term(7));
  EXPECT_EQ(files.back().term, Term(9));
  // The newest stays, however large.
  world().options().divergent_bytes_max = 10;
  Open();
  WriteAndWait({.truncate_from = Index(9)});
  ASSERT_EQ(Files().size(), 1u);
  EXPECT_EQ(Files()[0].term, Term(10));
}

TEST_F(DivergentTailTest, EveryFlippedBitAndEveryCutIsNoticed) {
  Open();
  WriteTwelve(20);
  WriteAndWait(Replacement());
  ASSERT_EQ(Files().size(), 1u);
  const std::string path = Files()[0].path;
  const std::string sound = *ReadFile(path);
  const auto expect_refused = [&](const std::string& content) {
    std::ofstream(path, std::ios::binary) << content;
    const absl::Status status = DivergentTail::Read(path).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_NE(MessageOf(status).find(path), std::string::npos);
  };
  for (size_t place = 0; place < sound.size(); ++place) {
    SCOPED_TRACE(place);
    std::string flipped = sound;
    flipped[place] = static_cast<char>(flipped[place] ^ 0x10);
    expect_refused(flipped);
    expect_refused(sound.substr(0, place));
  }
  expect_refused(sound + "x");
}

TEST_F(DivergentTailTest, WithoutItThereIsNoTruncation) {
  Open();
  WriteTwelve();
  world().fs().FailSyncsOf("*/divergent/*");
  Write(Replacement());
  ASSERT_TRUE(events_->WaitUntil([](const std::vector<Event>& events) {
    return !EventLog::AllOf<StorageFailed>(events).empty();
  }));
  const std::string failure = MessageOf(events_->All<StorageFailed>().front().status);
  EXPECT_NE(failure.find("/divergent/"), std::string::npos) << failure;
  world().LosePower();
  const LogRecovery recovery = Open();
  EXPECT_EQ(recovery.last, entries_.back()->point());
  EXPECT_EQ(recovery.acknowledged, Index(12));
  EXPECT_TRUE(Files().empty());
}

TEST_F(DivergentTailTest, ACrashLeavesTheTailInTheLogOrInItsFile) {
  int in_the_log = 0;
  int in_a_file = 0;
  bool crashed = true;
  for (uint64_t point = 1; crashed; ++point) {
    SCOPED_TRACE(point);
    NewWorld();
    Open();
    WriteTwelve();
    world().fs().CrashAtChange(world().fs().changes() + point, {.sound_bytes = point * 97 % 900});
    Write(Replacement());
    ASSERT_TRUE(events_->WaitUntil([](const std::vector<Event>& events) {
      return EventLog::AllOf<Persisted>(events).size() +
                 EventLog::AllOf<StorageFailed>(events).size() >
             1;
    }));
    crashed = world().fs().crashed();
    world().LosePower();
    const LogRecovery recovery = Open();
    if (recovery.last.at.term == Term(1)) {
      ++in_the_log;
      EXPECT_EQ(recovery.last, entries_.back()->point());
      WriteAndWait(Replacement());  // what a crash has left does not hinder it
    } else {
      ++in_a_file;
    }
    ASSERT_EQ(Files().size(), 1u);
    ExpectHolds(Files()[0], LastFour());
    EXPECT_EQ(std::distance(
                  std::filesystem::directory_iterator(world().directory().File("divergent")), {}),
              1);
  }
  EXPECT_GT(in_the_log, 3);
  EXPECT_GT(in_a_file, 0);
}

}  // namespace
}  // namespace skein
