// Fake nodes for tests of the client library, of one membership that never changes.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "skein/client.h"
#include "tests/client/fake_node.h"

namespace skein {

inline std::chrono::milliseconds Since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                               start);
}

// Three nodes that work, of which n1 leads.
class ClientTest : public testing::Test {
 protected:
  ClientTest() {
    for (int i = 1; i <= 3; ++i) {
      nodes_.push_back(std::make_unique<FakeNode>("n" + std::to_string(i)));
    }
    for (auto& node : nodes_) {
      node->SetMembers({nodes_[0].get(), nodes_[1].get(), nodes_[2].get()});
      node->SetScript(store_.Serve(node.get()));
    }
    Elect(1, 1);
  }

  FakeNode& node(int number) { return *nodes_[static_cast<size_t>(number) - 1]; }

  FakeNode& ByName(const std::string& id) {
    for (auto& one : nodes_) {
      if (one->id() == id) return *one;
    }
    ADD_FAILURE() << "no node " << id;
    return *nodes_[0];
  }

  // Everyone agrees; followers redirect writes with a hint.
  void Elect(int leader, uint64_t term) {
    for (auto& one : nodes_) {
      one->SetLeader(node(leader).id(), term);
      one->SetScript(one.get() == &node(leader) ? store_.Serve(one.get())
                                                : RefuseWrites(one.get(), node(leader).id(),
                                                               node(leader).address(), term));
    }
  }

  FakeNode::Script RefuseWrites(FakeNode* one, const std::string& leader_id,
                                const std::string& leader_address, uint64_t term) {
    auto serve = store_.Serve(one);
    auto refuse =
        Refuse(grpc::StatusCode::UNAVAILABLE, v1::NOT_LEADER, leader_id, leader_address, term);
    return [=](const v1::Request& request, v1::Response* response) {
      return request.has_put() || request.has_delete_() ? refuse(request, response)
                                                        : serve(request, response);
    };
  }

  std::unique_ptr<Client> Connect(std::vector<int> numbers, ClientOptions options = {}) {
    std::vector<std::string> endpoints;
    for (const int number : numbers) endpoints.push_back(node(number).address());
    return Client::Connect(endpoints, options);
  }

  FakeStore store_;
  std::vector<std::unique_ptr<FakeNode>> nodes_;
};

}  // namespace skein
