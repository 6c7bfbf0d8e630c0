// A node inside a program: starts, stops, starts again, whatever is asked of it meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/server/node_fixture.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

TEST(EmbeddedNodeTest, KeepsItsDataFromStartToStart) {
  LocalNodes nodes(1);
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(nodes.WaitForLeader(), 0);
    const std::string key = "k" + std::to_string(round);
    v1::PutResponse put;
    ASSERT_TRUE(nodes.raw(0).Put(PutOf(key, key), &put).ok());
    EXPECT_EQ(put.revision(), static_cast<uint64_t>(round) + 1);
    for (int earlier = 0; earlier <= round; ++earlier) {
      const std::string name = "k" + std::to_string(earlier);
      v1::GetResponse got;
      ASSERT_TRUE(nodes.raw(0).Get(GetOf(name, v1::LINEARIZABLE), &got).ok());
      EXPECT_EQ(got.value(), name);
      EXPECT_EQ(got.version(), static_cast<uint64_t>(earlier) + 1);
    }
    nodes.Stop(0);
    nodes.Start(0);
  }
}

TEST(EmbeddedNodeTest, SaysWhenItIsAskedToStop) {
  TempDir directory;
  FreePort port;
  auto logger = Logger::Create({.level = "off"}, "n1");
  NodeOptions options;
  options.name = "n1";
  options.data_directory = directory.File("data");
  options.listen = port.address();
  options.initial_cluster = {{"n1", port.address()}};
  auto node = Node::Start(options, logger->get());
  ASSERT_TRUE(node.ok()) << node.status();
  EXPECT_EQ((*node)->address(), port.address());
  auto second = Node::Start(options, logger->get());
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  std::thread stopper([&] { (*node)->RequestStop(); });
  EXPECT_TRUE((*node)->WaitUntilStopped().ok());
  stopper.join();
  (*node)->Stop();
  (*node)->Stop();
}

// What was committed before a read began may be applied too late for it. That is no doubt of who
// leads.
TEST(EmbeddedNodeTest, ALeaderWhoseStateIsBehindSaysSo) {
  LocalNodes nodes(1);
  ASSERT_EQ(nodes.WaitForLeader(), 0);
  const v1::PutRequest put = PutOf("large", std::string(16 << 20, 'v'));
  v1::GetRequest get = GetOf("large", v1::LINEARIZABLE);
  get.mutable_read()->set_wait_ms(1);
  grpc::Status status;
  // Mostly, but not always, it takes longer to apply the write than to ask for it.
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    v1::PutResponse written;
    v1::GetResponse got;
    EXPECT_TRUE(nodes.raw(0).Put(put, &written).ok());
    status = nodes.raw(0).Get(get, &got);
    return DetailIn(status).reason() == v1::BEHIND;
  })) << status.error_message();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

// Calls of every kind arrive while the node stops. All are answered, and Stop returns.
TEST(EmbeddedNodeTest, StopsWhileCallsArrive) {
  LocalNodes nodes(1);
  std::atomic<bool> stop{false};
  std::atomic<int> answered{0};
  const auto keep_asking = [&](auto ask) {
    return std::thread([&, ask] {
      RawNode node(nodes.Address(0));
      while (!stop) {
        ask(&node);
        ++answered;
      }
    });
  };
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.push_back(keep_asking([](RawNode* node) {
      v1::GetResponse got;
      node->Get(GetOf("k", v1::LINEARIZABLE), &got, seconds(2));
    }));
    callers.push_back(keep_asking([](RawNode* node) {
      v1::PutResponse put;
      node->Put(PutOf("k", "v"), &put, seconds(2));
    }));
    callers.push_back(keep_asking([](RawNode* node) {
      v1::GetResponse got;
      node->Get(GetOf("k", v1::AT_LEAST, 1'000'000'000), &got, milliseconds(300));
    }));
    callers.push_back(keep_asking([](RawNode* node) {
      v1::StatusResponse status;
      node->Status(&status);
    }));
    callers.push_back(keep_asking([](RawNode* node) {
      v1::ScanRequest request;
      request.mutable_read()->set_consistency(v1::LINEARIZABLE);
      node->Scan(request);
    }));
  }
  for (int round = 0; round < 10; ++round) {
    const int before = answered;
    EXPECT_TRUE(WaitUntil(seconds(30), [&] { return answered >= before + 200; }));
    const auto began = steady_clock::now();
    nodes.Stop(0);
    EXPECT_LT(steady_clock::now() - began, seconds(5));
    nodes.Start(0);
  }
  stop = true;
  for (std::thread& caller : callers) caller.join();
}

}  // namespace
}  // namespace skein
