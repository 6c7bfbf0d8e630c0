#include "tests/integration/torture_watch.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include "tests/server/raw_node.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kInterval{25};
constexpr milliseconds kAnswerTime{300};

}  // namespace

TortureWatch::TortureWatch(const std::vector<std::string>& addresses) {
  for (const std::string& address : addresses) {
    threads_.emplace_back([this, address] { Watch(address); });
  }
}

TortureWatch::~TortureWatch() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
}

int TortureWatch::leader() {
  MutexLock lock(&mu_);
  const auto newest = leaders_.find(term_);
  // Nodes are called n1, n2 and so on.
  return newest == leaders_.end() ? -1 : std::stoi(newest->second.substr(1)) - 1;
}

uint64_t TortureWatch::term() {
  MutexLock lock(&mu_);
  return term_;
}

std::string TortureWatch::contradiction() {
  MutexLock lock(&mu_);
  return contradiction_;
}

void TortureWatch::Watch(const std::string& address) {
  const RawNode node(address);
  const auto stub = v1::Cluster::NewStub(node.channel());
  while (!stopping_) {
    WaitUntil(kInterval, [this] { return stopping_.load(); });
    grpc::ClientContext context;
    RawNode::Prepare(&context, kAnswerTime);
    v1::StatusResponse status;
    if (!stub->Status(&context, v1::StatusRequest(), &status).ok()) continue;
    MutexLock lock(&mu_);
    term_ = std::max(term_, status.term());
    if (status.leader_id().empty()) continue;
    const auto [leader, first] = leaders_.emplace(status.term(), status.leader_id());
    if (first || leader->second == status.leader_id()) continue;
    contradiction_ = status.node_id() + " says that " + status.leader_id() + " leads term " +
                     std::to_string(status.term()) + ", which " + leader->second + " leads";
  }
}

}  // namespace skein
