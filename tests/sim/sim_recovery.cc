#include "tests/sim/sim_recovery.h"

#include <algorithm>
#include <utility>

namespace skein::sim {
namespace {

constexpr uint64_t kClientsPollUs = 20'000;

}  // namespace

void SimRecovery::Start() {
  const uint64_t mean_us = context_.options->faults.majority_loss;
  if (mean_us == 0) return;
  context_.scheduler->After(Exponential(&random_, mean_us), [this] { LoseMajority(); });
}

void SimRecovery::LoseMajority() {
  if (stopped_) return;
  under_way_ = true;
  context_.trace->Say("a majority is lost");
  parts_.keeper->OnMajorityLost();
  for (const auto& client : *parts_.clients) client->Stop();
  AwaitClients();
}

void SimRecovery::AwaitClients() {
  const bool busy = std::any_of(parts_.clients->begin(), parts_.clients->end(),
                                [](const auto& client) { return client->calls_under_way() > 0; });
  if (!busy) return Recover();
  context_.scheduler->After(kClientsPollUs, [this] { AwaitClients(); });
}

std::vector<size_t> SimRecovery::Lost() {
  std::vector<size_t> voters;
  for (const Member& member : context_.checker->membership().membership.members) {
    if (member.voter) voters.push_back(member.id.value() - 1);
  }
  for (size_t i = voters.size(); i > 1; --i) std::swap(voters[i - 1], voters[random_.Below(i)]);
  voters.resize(random_.Between(voters.size() / 2 + 1, voters.size()));
  return voters;
}

std::optional<size_t> SimRecovery::Survivor(const std::vector<size_t>& lost) {
  std::vector<size_t> left;
  for (const auto& node : *parts_.nodes) {
    const size_t number = node->number();
    const bool is_lost = std::find(lost.begin(), lost.end(), number) != lost.end();
    if (is_lost || !context_.checker->Counts(number) || parts_.keeper->MustGo(number)) continue;
    const bool empty = node->disk().last().at.index == Index();
    const Membership members = node->disk().membership().membership;
    if (!empty && members.Find(NodeId(number + 1)) != nullptr) left.push_back(number);
  }
  if (left.empty()) return std::nullopt;
  if (random_.Chance(0.2)) return left[random_.Below(left.size())];
  return *std::max_element(left.begin(), left.end(), [this](size_t a, size_t b) {
    return (*parts_.nodes)[a]->disk().last().at < (*parts_.nodes)[b]->disk().last().at;
  });
}

void SimRecovery::Recover() {
  const std::vector<size_t> lost = Lost();
  const std::optional<size_t> survivor = Survivor(lost);
  if (survivor) {
    (*parts_.nodes)[*survivor]->ForceQuorum(context_.checker->history() + 1);
    context_.checker->BeginHistory(*survivor);
    for (const size_t node : lost) (*parts_.nodes)[node]->Wipe(Membership(), /*lost=*/false);
    for (const auto& node : *parts_.nodes) parts_.network->Forget(node->number());
  }
  parts_.keeper->AfterMajorityLoss(survivor.has_value());
  for (const auto& client : *parts_.clients) {
    if (client != parts_.clients->back()) client->Start(context_.options->calls_each);
  }
  under_way_ = false;
  Start();
}

}  // namespace skein::sim
