// The torture test can fail: what contradicts the promise is seen, in made-up records and on real
// clusters that were made to break it.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/integration/torture_checks.h"
#include "tests/integration/torture_run.h"

namespace skein {
namespace {

namespace fs = std::filesystem;

OpRecord Put(const std::string& key, const std::string& value, uint64_t revision, uint64_t begin,
             uint64_t end, OpOutcome outcome = OpOutcome::kOk) {
  OpRecord record;
  record.kind = OpKind::kPut;
  record.key = key;
  record.value = value;
  record.revision = revision;
  record.begin_us = begin;
  record.end_us = end;
  record.outcome = outcome;
  return record;
}

OpRecord Delete(const std::string& key, uint64_t revision, uint64_t begin, uint64_t end,
                OpOutcome outcome = OpOutcome::kOk) {
  OpRecord record = Put(key, "", revision, begin, end, outcome);
  record.kind = OpKind::kDelete;
  return record;
}

OpRecord Get(OpKind kind, const std::string& key, const std::string& value, uint64_t version,
             uint64_t begin, uint64_t end, uint64_t applied) {
  OpRecord record = Put(key, value, version, begin, end);
  record.kind = kind;
  record.found = !value.empty();
  record.applied = applied;
  return record;
}

class ChecksTest : public ::testing::Test {
 protected:
  // a: put, put; b: put, deleted; c: refused; d: unknown.
  ChecksTest() {
    records_ = {Put("a", "a1", 1, 10, 20),
                Put("a", "a2", 2, 30, 40),
                Put("b", "b1", 3, 50, 60),
                Delete("b", 4, 70, 80),
                Put("c", "c1", 0, 10, 90, OpOutcome::kRefused),
                Put("d", "d1", 0, 10, 90, OpOutcome::kUnknown),
                Get(OpKind::kGetLinearizable, "a", "a1", 1, 21, 25, 1),
                Get(OpKind::kGetLinearizable, "a", "a2", 2, 41, 45, 2),
                Get(OpKind::kGetAny, "a", "a1", 1, 41, 45, 1)};
    nodes_ = {{"n1", {{"a", {"a2", 2}}}}, {"n2", {{"a", {"a2", 2}}}}};
  }
  // One complaint at least, and one of them with these words.
  void ExpectComplaint(const std::string& words) {
    const std::vector<std::string> all = CheckEverything(records_, nodes_);
    EXPECT_TRUE(
        std::any_of(all.begin(), all.end(),
                    [&](const std::string& text) { return text.find(words) != std::string::npos; }))
        << "nobody said '" << words << "', but: " << ::testing::PrintToString(all);
  }
  void OnBoth(const std::string& key, const std::string& value, uint64_t version) {
    for (NodeContents& node : nodes_) node.keys[key] = {value, version};
  }

  std::vector<OpRecord> records_;
  std::vector<NodeContents> nodes_;
};

TEST_F(ChecksTest, WhatIsRightPasses) {
  EXPECT_TRUE(CheckEverything(records_, nodes_).empty());
  OnBoth("d", "d1", 5);
  EXPECT_TRUE(CheckEverything(records_, nodes_).empty()) << "an unknown write may be there";
  records_.push_back(Delete("d", 0, 10, 90, OpOutcome::kUnknown));
  EXPECT_TRUE(CheckEverything(records_, nodes_).empty());
}

TEST_F(ChecksTest, ALostWriteIsSeen) {
  for (NodeContents& node : nodes_) node.keys.erase("a");
  ExpectComplaint("what it holds of a lacks");
  ExpectComplaint("not linearizable: a");
}

TEST_F(ChecksTest, AWriteThatWentBackIsSeen) {
  OnBoth("a", "a1", 1);
  ExpectComplaint("what it holds of a is older than");
}

TEST_F(ChecksTest, ADeletedKeyThatIsBackIsSeen) {
  OnBoth("b", "b1", 3);
  ExpectComplaint("what it holds of b is older than");
}

TEST_F(ChecksTest, AWriteThatWasAppliedAgainIsSeen) {
  OnBoth("a", "a2", 9);
  ExpectComplaint("has version 9");
}

TEST_F(ChecksTest, AnUnknownWriteThatWasAppliedTwiceIsSeen) {
  OnBoth("d", "d1", 7);
  records_.push_back(Get(OpKind::kGetAny, "d", "d1", 5, 60, 70, 5));
  records_.push_back(Get(OpKind::kGetAny, "d", "d1", 7, 80, 90, 7));
  ExpectComplaint("applied twice");
}

TEST_F(ChecksTest, ARefusedWriteThatIsThereIsSeen) {
  OnBoth("c", "c1", 5);
  ExpectComplaint("was refused");
}

TEST_F(ChecksTest, AForeignValueIsSeen) {
  OnBoth("a", "from nowhere", 2);
  ExpectComplaint("was never written there");
}

TEST_F(ChecksTest, NodesThatDifferAreSeen) {
  nodes_[1].keys["d"] = {"d1", 5};
  ExpectComplaint("n1 and n2 hold different data");
}

TEST_F(ChecksTest, AStaleLinearizableReadIsSeen) {
  records_.push_back(Get(OpKind::kGetLinearizable, "a", "a1", 1, 41, 45, 1));
  ExpectComplaint("stale: ");
  ExpectComplaint("not linearizable: a");
}

TEST_F(ChecksTest, AReadThatMissesAKeyIsSeen) {
  records_.push_back(Get(OpKind::kGetLinearizable, "a", "", 0, 41, 45, 2));
  ExpectComplaint("lacks");
}

TEST_F(ChecksTest, AReadOfADeletedKeyIsSeen) {
  records_.push_back(Get(OpKind::kGetLinearizable, "b", "b1", 3, 81, 85, 4));
  ExpectComplaint("is older than");
}

TEST_F(ChecksTest, ASessionThatGoesBackIsSeen) {
  records_.push_back(Get(OpKind::kGetOwn, "a", "a1", 1, 35, 45, 2));
  EXPECT_TRUE(CheckEverything(records_, nodes_).empty()) << "it had not promised more";
  records_.back().at_least = 2;
  ExpectComplaint("is older than");
  records_.back() = Get(OpKind::kGetOwn, "a", "a2", 2, 41, 45, 2);
  records_.back().at_least = 3;
  ExpectComplaint("should have seen revision 3");
}

TEST_F(ChecksTest, ABoundedReadBeyondItsBoundIsSeen) {
  records_.push_back(Get(OpKind::kGetBounded, "a", "a1", 1, 100, 101, 1));
  records_.back().bound_us = 70;
  EXPECT_TRUE(CheckEverything(records_, nodes_).empty()) << "at time 30 this was right";
  records_.back().bound_us = 50;
  ExpectComplaint("is older than");
}

TEST_F(ChecksTest, RevisionsThatRepeatOrGoBackAreSeen) {
  records_.push_back(Put("e", "e1", 4, 90, 95));
  ExpectComplaint("one revision for two writes");
  records_.back() = Put("e", "e1", 1, 90, 95);
  ExpectComplaint("revisions go back");
}

TEST_F(ChecksTest, AValueFromTheFutureIsSeen) {
  records_.push_back(Get(OpKind::kGetAny, "a", "a2", 2, 21, 25, 2));
  ExpectComplaint("read before it was written");
}

TEST(TortureReportTest, SaysHowLongAndHowMuch) {
  Durations durations;
  for (int i = 1; i <= 100; ++i) durations.ms.push_back(101 - i);
  EXPECT_EQ(durations.Quantile(0.5), 50);
  EXPECT_EQ(durations.Quantile(0.99), 99);
  EXPECT_EQ(durations.Quantile(1), 100);
  EXPECT_EQ(WithCommas(1234567), "1,234,567");
  EXPECT_EQ(WithCommas(123), "123");
  TortureReport report;
  EXPECT_NE(report.Markdown().find("No violation"), std::string::npos);
  report.violations = {"a write is gone"};
  EXPECT_NE(report.Markdown().find("a write is gone"), std::string::npos);
  EXPECT_NE(report.Markdown().find("VIOLATED"), std::string::npos);
}

// One round, with one fault that harms nothing.
TortureOptions OneRound() {
  TortureOptions options;
  options.seconds = 1e-3;
  options.nodes = 3;
  options.kinds = {FaultKind::kPauseLeaderShort};
  return options;
}

bool Says(const TortureReport& report, const std::string& words) {
  return std::any_of(
      report.violations.begin(), report.violations.end(),
      [&](const std::string& violation) { return violation.find(words) != std::string::npos; });
}

TEST(TortureRunTest, ARoundWithoutLossPasses) {
  const TortureReport report = TortureRun(OneRound()).Run();
  EXPECT_TRUE(report.violations.empty()) << report.Markdown();
  EXPECT_EQ(report.rounds, 1);
  EXPECT_EQ(report.KindsTried(), 1);
  EXPECT_GT(report.Operations(), 100U);
  EXPECT_EQ(report.kept, "");
}

TEST(TortureRunTest, AWriteThatNobodyMadeIsMissed) {
  TortureOptions options = OneRound();
  options.falsify = [](std::vector<OpRecord>* records) {
    const auto last = std::max_element(
        records->begin(), records->end(),
        [](const OpRecord& a, const OpRecord& b) { return a.revision < b.revision; });
    records->push_back(Put("r0/fake", "fake", last->revision + 1, last->begin_us, last->end_us));
  };
  const TortureReport report = TortureRun(options).Run();
  EXPECT_TRUE(Says(report, "r0/fake lacks")) << report.Markdown();
  ASSERT_NE(report.kept, "");
  EXPECT_TRUE(fs::exists(report.kept + "/history.txt"));
  EXPECT_TRUE(fs::exists(report.kept + "/n1.log"));
  fs::remove_all(report.kept);
}

// Two of three nodes come back with what they had before the last writes, as from a backup.
TEST(TortureRunTest, NodesThatWereSetBackAreFoundOut) {
  TortureOptions options = OneRound();
  options.seconds = 60;  // until it is found
  bool saved = false;
  options.meddle = [&](ProcessCluster* cluster) {
    for (const int node : cluster->AllNodes()) cluster->Kill(node);
    for (const int node : {0, 1}) {
      const fs::path now = cluster->DataDirectory(node);
      const fs::path before = now.string() + ".before";
      if (saved) fs::remove_all(now);
      fs::copy(saved ? before : now, saved ? now : before, fs::copy_options::recursive);
    }
    saved = true;
    for (const int node : {0, 1}) cluster->Start(node);
    EXPECT_GE(cluster->WaitForLeader(), 0);
    cluster->Start(2);
  };
  const TortureReport report = TortureRun(options).Run();
  EXPECT_EQ(report.rounds, 2);
  EXPECT_TRUE(Says(report, "lacks")) << report.Markdown();
  fs::remove_all(report.kept);
}

TEST(TortureRunTest, AFatalLineInALogIsFoundOut) {
  TortureOptions options = OneRound();
  options.seconds = 60;
  options.meddle = [](ProcessCluster* cluster) {
    std::ofstream(cluster->directory().File("n2.log"), std::ios::app) << "event=fatal text=x\n";
  };
  const TortureReport report = TortureRun(options).Run();
  EXPECT_TRUE(Says(report, "n2 says: event=fatal")) << report.Markdown();
  fs::remove_all(report.kept);
}

}  // namespace
}  // namespace skein
