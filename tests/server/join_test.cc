// A node with an empty data directory that joins a cluster, and why it may not.
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "common/error.h"
#include "storage/data_directory.h"
#include "tests/server/node_fixture.h"

namespace skein {
namespace {

using std::chrono::seconds;

class JoinTest : public ::testing::Test {
 protected:
  void SetUp() override {
    LogOptions log;
    log.level = "off";
    logger_ = std::move(Logger::Create(log, "n2").value());
    ASSERT_EQ(nodes_.WaitForLeader(), 0);
  }

  NodeOptions Joiner() {
    NodeOptions options = nodes_.Options(0);
    options.name = "n2";
    options.data_directory = directory_.File("n2");
    options.listen = port_.address();
    options.initial_cluster.clear();
    options.join = {nodes_.Address(0)};
    options.join_member_wait_ms = 300;
    return options;
  }
  void Add(bool promote = true) {
    v1::ChangeResponse changed;
    const grpc::Status status = nodes_.raw(0).AddMember("n2", port_.address(), promote, &changed);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  void ExpectRefused(const NodeOptions& options, const std::string& words) {
    const auto node = Node::Start(options, logger_.get());
    ASSERT_TRUE(absl::IsFailedPrecondition(node.status())) << node.status();
    EXPECT_NE(MessageOf(node.status()).find(words), std::string::npos) << node.status();
    EXPECT_FALSE(std::filesystem::exists(options.data_directory));
  }
  v1::Member MemberOf(const std::string& id) {
    v1::MembersResponse members;
    EXPECT_TRUE(nodes_.raw(0).Members(&members).ok());
    for (const v1::Member& member : members.members()) {
      if (member.id() == id) return member;
    }
    return {};
  }
  // n2 serves what n1 has taken.
  void ExpectFollows() {
    v1::PutResponse put;
    ASSERT_TRUE(nodes_.raw(0).Put(PutOf("k", "v"), &put).ok());
    v1::GetResponse got;
    const grpc::Status status = raw_.Get(GetOf("k", v1::AT_LEAST, put.revision()), &got);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(got.value(), "v");
  }

  LocalNodes nodes_{1};
  TempDir directory_;
  FreePort port_;
  RawNode raw_{port_.address()};
  std::unique_ptr<Logger> logger_;
};

TEST_F(JoinTest, ANodeThatWasAddedJoinsAndBecomesAVoter) {
  Add();
  auto node = Node::Start(Joiner(), logger_.get());
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_TRUE(WaitUntil(seconds(30), [this] { return MemberOf("n2").voter(); }));
  ExpectFollows();
  v1::StatusResponse status;
  ASSERT_TRUE(raw_.Status(&status).ok());
  EXPECT_TRUE(
      WaitUntil(seconds(30), [&] { return MemberOf("n2").incarnation() == status.incarnation(); }));
}

TEST_F(JoinTest, ALearnerIsPromotedOnRequestOnceItIsLevel) {
  Add(/*promote=*/false);
  auto node = Node::Start(Joiner(), logger_.get());
  ASSERT_TRUE(node.ok()) << node.status();
  ExpectFollows();
  EXPECT_FALSE(MemberOf("n2").voter());
  v1::ChangeResponse changed;
  EXPECT_TRUE(
      WaitUntil(seconds(30), [&] { return nodes_.raw(0).PromoteMember("n2", &changed).ok(); }));
  EXPECT_TRUE(MemberOf("n2").voter());
  ExpectFollows();
}

TEST_F(JoinTest, WithDataTheFlagsDoNotMatter) {
  Add(/*promote=*/false);
  NodeOptions options = Joiner();
  ASSERT_TRUE(Node::Start(options, logger_.get()).ok());
  for (const bool join : {true, false}) {
    options.join = join ? std::vector<std::string>{"127.0.0.1:1"} : std::vector<std::string>{};
    options.initial_cluster.clear();
    if (!join) options.initial_cluster = {{"n2", port_.address()}};
    auto node = Node::Start(options, logger_.get());
    ASSERT_TRUE(node.ok()) << node.status();
    ExpectFollows();
  }
  options.initial_cluster.clear();
  auto node = Node::Start(options, logger_.get());
  ASSERT_TRUE(node.ok()) << node.status();
  ExpectFollows();
}

TEST_F(JoinTest, ItWaitsUntilItIsAdded) {
  NodeOptions options = Joiner();
  options.join_member_wait_ms = 30'000;
  std::thread adder([this] { Add(); });
  auto node = Node::Start(options, logger_.get());
  adder.join();
  ASSERT_TRUE(node.ok()) << node.status();
  ExpectFollows();
}

TEST_F(JoinTest, ItWaitsUntilSomebodyAnswers) {
  Add();
  nodes_.Stop(0);
  std::thread starter([this] { nodes_.Start(0); });
  auto node = Node::Start(Joiner(), logger_.get());
  starter.join();
  ASSERT_TRUE(node.ok()) << node.status();
}

TEST_F(JoinTest, OneThatAnswersIsEnough) {
  Add();
  NodeOptions options = Joiner();
  options.join = {"127.0.0.1:1", nodes_.Address(0)};
  EXPECT_TRUE(Node::Start(options, logger_.get()).ok());
}

TEST_F(JoinTest, WhoIsNoMemberIsToldWhatToRun) {
  ExpectRefused(Joiner(), "n2 is not a member of the cluster at " + nodes_.Address(0) +
                              ", which has n1; run: skein member add n2 " + port_.address());
}

TEST_F(JoinTest, NobodyAnswers) {
  NodeOptions options = Joiner();
  options.join = {"127.0.0.1:1", "127.0.0.1:2"};
  options.join_wait_ms = 300;
  const auto node = Node::Start(options, logger_.get());
  ASSERT_TRUE(absl::IsUnavailable(node.status())) << node.status();
  for (const char* words : {"127.0.0.1:1: ", "127.0.0.1:2: ", "300 ms"}) {
    EXPECT_NE(MessageOf(node.status()).find(words), std::string::npos) << node.status();
  }
}

TEST_F(JoinTest, AnotherAddressThanTheClusterKnowsIsRefused) {
  Add();
  const FreePort other;
  NodeOptions options = Joiner();
  options.listen = other.address();
  ExpectRefused(options, "the cluster reaches n2 at " + port_.address() + ", but this node is at " +
                             other.address());
  options.advertise = port_.address();  // behind something that forwards
  EXPECT_TRUE(Node::Start(options, logger_.get()).ok());
}

TEST_F(JoinTest, AnotherClusterThanExpectedIsRefused) {
  Add();
  NodeOptions options = Joiner();
  options.cluster_token = "orders";
  ExpectRefused(options, "is called skein, not orders");
}

TEST_F(JoinTest, AnEmptyDirectoryInPlaceOfOneThatTheClusterHasSeenIsRefused) {
  Add(/*promote=*/false);
  NodeOptions options = Joiner();
  {
    auto node = Node::Start(options, logger_.get());
    ASSERT_TRUE(node.ok()) << node.status();
    ASSERT_TRUE(WaitUntil(seconds(30), [this] { return !MemberOf("n2").incarnation().empty(); }));
  }
  options.data_directory = directory_.File("another");
  ExpectRefused(options, "the cluster has seen another data directory of n2");
  // Nor is it let in if it does not ask.
  options.join.clear();
  options.initial_cluster = {{"n1", nodes_.Address(0)}, {"n2", port_.address()}};
  {
    auto node = Node::Start(options, logger_.get());
    ASSERT_TRUE(node.ok()) << node.status();
    // It has looked for a leader among those who talk with it.
    v1::StatusResponse status;
    EXPECT_TRUE(WaitUntil(seconds(30), [&] {
      return raw_.Status(&status).ok() && status.role() == v1::ROLE_CANDIDATE;
    }));
    EXPECT_FALSE(MemberIn(status, "n1").connected());
    ASSERT_TRUE(nodes_.raw(0).Status(&status).ok());
    EXPECT_FALSE(MemberIn(status, "n2").connected());
  }
  std::filesystem::remove_all(options.data_directory);
  // Removed and added again it may come with any.
  v1::ChangeResponse changed;
  ASSERT_TRUE(nodes_.raw(0).RemoveMember("n2", false, &changed).ok());
  Add();
  options = Joiner();
  options.data_directory = directory_.File("another");
  auto node = Node::Start(options, logger_.get());
  ASSERT_TRUE(node.ok()) << node.status();
  ExpectFollows();
  EXPECT_TRUE(WaitUntil(seconds(30), [this] { return MemberOf("n2").voter(); }));
}

TEST_F(JoinTest, ADirectoryThatWasOnlyBegunIsTakenUpAgain) {
  Add();
  const NodeOptions options = Joiner();
  std::filesystem::create_directories(directory_.path());
  ASSERT_TRUE(DataDirectory::Open(options.data_directory, "skein", "n2").ok());
  auto node = Node::Start(options, logger_.get());
  ASSERT_TRUE(node.ok()) << node.status();
  ExpectFollows();
}

TEST_F(JoinTest, ADirectoryThatWasBegunBeforeARecoveryIsRefused) {
  Add();
  const NodeOptions options = Joiner();
  std::filesystem::create_directories(directory_.path());
  ASSERT_TRUE(
      DataDirectory::Open(options.data_directory, "skein", "n2", NewHistoryOf("skein")).ok());
  const auto node = Node::Start(options, logger_.get());
  ASSERT_TRUE(absl::IsFailedPrecondition(node.status())) << node.status();
  EXPECT_NE(MessageOf(node.status()).find("was made before the cluster was recovered"),
            std::string::npos)
      << node.status();
}

TEST_F(JoinTest, WithoutDataAndWithoutAClusterItDoesNotStart) {
  NodeOptions options = Joiner();
  options.join.clear();
  ExpectRefused(options, "holds no data yet");
  options.join = {nodes_.Address(0)};
  options.initial_cluster = {{"n2", port_.address()}};
  const auto node = Node::Start(options, logger_.get());
  EXPECT_TRUE(absl::IsInvalidArgument(node.status())) << node.status();
}

}  // namespace
}  // namespace skein
