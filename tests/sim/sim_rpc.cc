#include "tests/sim/sim_rpc.h"

#include <utility>

namespace skein::sim {

SimRpc::SimRpc(const SimContext& context, size_t clients, size_t nodes, RpcEnds* ends,
               Random random)
    : context_(context),
      clients_(clients),
      nodes_(nodes),
      ends_(ends),
      random_(random),
      links_(clients * nodes) {}

uint64_t SimRpc::DelayMicros() {
  return context_.options->delay_min_us + Exponential(&random_, context_.options->delay_mean_us);
}

void SimRpc::Send(size_t node, Request request) {
  const size_t client = request.client;
  Link& link = LinkOf(client, node);
  if (!ends_->IsAlive(node) && !link.cut) {
    context_.scheduler->After(DelayMicros(), [this, client, node, id = request.id] {
      ends_->OnNotSent(client, node, id);
    });
    return;
  }
  context_.scheduler->After(DelayMicros(), [this, client, node, epoch = link.epoch,
                                            request = std::move(request)]() mutable {
    Link& link = LinkOf(client, node);
    if (link.cut || link.epoch != epoch || !ends_->IsAlive(node)) return;
    ends_->OnRequest(node, std::move(request));
  });
}

void SimRpc::Reply(size_t node, size_t client, Response response) {
  context_.scheduler->After(DelayMicros(), [this, client, node, epoch = LinkOf(client, node).epoch,
                                            response = std::move(response)]() mutable {
    Link& link = LinkOf(client, node);
    if (link.cut || link.epoch != epoch) return;
    ends_->OnResponse(client, node, std::move(response));
  });
}

void SimRpc::OnEnd(size_t node) {
  for (size_t client = 0; client < clients_; ++client) {
    ++LinkOf(client, node).epoch;
    context_.scheduler->After(DelayMicros(), [this, client, node] {
      if (!LinkOf(client, node).cut) ends_->OnBroken(client, node);
    });
  }
}

}  // namespace skein::sim
