// Nodes in this process, on free ports, with short timeouts.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "server/node.h"
#include "tests/server/raw_node.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {

// Nodes are counted from 0; node 0 is called n1.
class LocalNodes {
 public:
  using Adjust = std::function<void(int node, NodeOptions* options)>;

  // `adjust` has the last word on a node's options, at each of its starts.
  explicit LocalNodes(int count, KvLimits limits = {}, Adjust adjust = nullptr)
      : limits_(limits), adjust_(std::move(adjust)), ports_(count) {
    LogOptions log;
    log.level = "off";
    logger_ = std::move(Logger::Create(log, "test").value());
    nodes_.resize(count);
    for (int i = 0; i < count; ++i) {
      Start(i);
      raw_.push_back(std::make_unique<RawNode>(Address(i)));
    }
  }

  int size() const { return static_cast<int>(ports_.size()); }
  static std::string Name(int node) { return "n" + std::to_string(node + 1); }
  std::string Address(int node) const { return ports_[node].address(); }
  int port(int node) const { return ports_[node].number(); }
  std::vector<std::string> Addresses() const {
    std::vector<std::string> addresses;
    for (int i = 0; i < size(); ++i) addresses.push_back(Address(i));
    return addresses;
  }
  RawNode& raw(int node) { return *raw_[node]; }

  NodeOptions Options(int node) const {
    NodeOptions options;
    options.name = Name(node);
    options.data_directory = directory_.File(options.name);
    options.listen = Address(node);
    options.limits = limits_;
    options.disk_reserve_bytes = 0;
    options.replica.core.heartbeat_ticks = 3;
    options.replica.core.election_ticks_min = 30;
    options.replica.core.election_ticks_max = 60;
    for (int i = 0; i < size(); ++i) options.initial_cluster.emplace_back(Name(i), Address(i));
    if (adjust_ != nullptr) adjust_(node, &options);
    return options;
  }
  void Start(int node) {
    auto started = Node::Start(Options(node), logger_.get());
    ASSERT_TRUE(started.ok()) << started.status();
    nodes_[node] = std::move(*started);
  }
  void Stop(int node) { nodes_[node].reset(); }
  // Without handing anything over.
  void StopAtOnce(int node) {
    nodes_[node]->Hurry();
    Stop(node);
  }
  // While it is not stopped.
  Node& node(int node) { return *nodes_[node]; }

  // A leader that takes writes, or -1.
  int WaitForLeader() {
    int leader = -1;
    WaitUntil(std::chrono::seconds(30), [&] {
      for (int i = 0; i < size() && leader < 0; ++i) {
        v1::StatusResponse status;
        if (nodes_[i] == nullptr || !raw_[i]->Status(&status).ok()) continue;
        if (status.role() == v1::ROLE_LEADER && status.has_quorum()) leader = i;
      }
      return leader >= 0;
    });
    return leader;
  }
  // The leader may have its quorum before the last of the others has heard of it.
  bool WaitUntilItFollows(int node, int leader) {
    return WaitUntil(std::chrono::seconds(30), [&] {
      v1::StatusResponse status;
      return raw_[node]->Status(&status).ok() && status.leader_id() == Name(leader);
    });
  }
  std::vector<int> Others(int node) const {
    std::vector<int> others;
    for (int i = 0; i < size(); ++i) {
      if (i != node) others.push_back(i);
    }
    return others;
  }

 private:
  const KvLimits limits_;
  const Adjust adjust_;
  TempDir directory_;
  std::vector<FreePort> ports_;
  std::unique_ptr<Logger> logger_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<RawNode>> raw_;
};

class OneNodeTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(nodes_.WaitForLeader(), 0); }
  RawNode& node() { return nodes_.raw(0); }
  // The node still does its work.
  void ExpectServes() {
    v1::PutResponse put;
    grpc::Status status = node().Put(PutOf("still", "here"), &put);
    ASSERT_TRUE(status.ok()) << status.error_message();
    v1::GetResponse got;
    status = node().Get(GetOf("still", v1::LINEARIZABLE), &got);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(got.value(), "here");
  }

  LocalNodes nodes_{1};
};

class ThreeNodesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    leader_ = nodes_.WaitForLeader();
    ASSERT_GE(leader_, 0);
    followers_ = nodes_.Others(leader_);
    for (const int node : followers_) ASSERT_TRUE(nodes_.WaitUntilItFollows(node, leader_));
  }
  RawNode& leader() { return nodes_.raw(leader_); }
  RawNode& follower(int i = 0) { return nodes_.raw(followers_[i]); }

  LocalNodes nodes_{3};
  int leader_ = -1;
  std::vector<int> followers_;
};

}  // namespace skein
