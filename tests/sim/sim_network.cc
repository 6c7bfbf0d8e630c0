#include "tests/sim/sim_network.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "replication/grpc/wire_codec.h"
#include "tests/sim/checker.h"

namespace skein::sim {
namespace {

constexpr size_t kUnderWayMax = 256;
constexpr size_t kOldMax = 32;
constexpr uint64_t kReopenMeanUs = 30'000;

size_t PlaceOf(NodeId id) { return id.value() - 1; }

std::string Show(const Position& at) {
  return fmt::format("{}.{}", at.term.value(), at.index.value());
}

struct BodyText {
  std::string operator()(const AppendMessage& m) const {
    std::string text = fmt::format("append after {} commit {}", Show(m.previous), m.commit.value());
    if (!m.entries.empty()) {
      text += fmt::format(" entries {} to {}", Show(m.entries.front()->position()),
                          Show(m.entries.back()->position()));
    }
    return text;
  }
  std::string operator()(const AppendAck& m) const {
    return fmt::format("{} match {} applied {} last {} commit {}", m.rejected ? "reject" : "ack",
                       m.match.value(), m.applied.value(), Show(m.last.at), m.commit.value());
  }
  std::string operator()(const HeartbeatMessage& m) const {
    return fmt::format("heartbeat round {} commit {} trim {} fresh {}@{}", m.round,
                       m.commit.value(), m.trim.value(), m.fresh_stamp_us, m.fresh_index.value());
  }
  std::string operator()(const HeartbeatAck& m) const {
    return fmt::format("heartbeat-ack round {} match {} applied {} stamp {}", m.round,
                       m.match.value(), m.applied.value(), m.stamp_us);
  }
  std::string operator()(const VoteMessage& m) const {
    return fmt::format("{}{} last {}", m.pre ? "pre-vote" : "vote", m.transfer ? " (transfer)" : "",
                       Show(m.last));
  }
  std::string operator()(const VoteAck& m) const {
    return fmt::format("{}vote {}{}", m.pre ? "pre-" : "",
                       m.granted ? "granted" : "refused: ", m.refusal);
  }
  std::string operator()(const ReadIndexMessage& m) const {
    return fmt::format("read-index {}", m.id);
  }
  std::string operator()(const ReadIndexAck& m) const {
    return fmt::format("read-index-ack {} {} {}", m.id, m.granted ? "granted" : "refused",
                       m.index.value());
  }
  std::string operator()(const TimeoutNowMessage&) const { return "timeout-now"; }
};

}  // namespace

std::string DescribeMessage(const Message& message) {
  return fmt::format("{} to {} term {}: {}", NodeName(PlaceOf(message.from)),
                     NodeName(PlaceOf(message.to)), message.term.value(),
                     std::visit(BodyText(), message.body));
}

SimNetwork::SimNetwork(const SimContext& context, size_t nodes, NetworkEnds* ends, Random random)
    : context_(context), nodes_(nodes), ends_(ends), random_(random), links_(nodes * nodes) {}

void SimNetwork::Send(size_t from, const Message& message) {
  const size_t to = PlaceOf(message.to);
  Link& link = LinkOf(from, to);
  context_.checker->OnSend(from, message);
  if (!link.up || link.under_way >= kUnderWayMax) return;
  const SimOptions& options = *context_.options;
  const bool wild = !calm_;
  if (wild && random_.Chance(options.loss)) {
    context_.coverage->Count(Mark::kMessageLost);
    return;
  }
  grpc::ByteBuffer bytes = EncodeMessages({&message, 1});
  uint64_t arrival_us =
      context_.now_us() + options.delay_min_us + Exponential(&random_, options.delay_mean_us);
  uint64_t& last_us = link.last_arrival_us[message.IsBulk() ? 1 : 0];
  if (wild && random_.Chance(options.reorder)) {
    context_.coverage->Count(Mark::kMessageReordered);
  } else {
    arrival_us = last_us = std::max(arrival_us, last_us + 1);
  }
  const bool twice = wild && random_.Chance(options.duplicate);
  if (twice) context_.coverage->Count(Mark::kMessageDuplicated);
  for (int copy = 0; copy < (twice ? 2 : 1); ++copy) {
    ++link.under_way;
    context_.scheduler->At(
        arrival_us + copy * Exponential(&random_, options.delay_mean_us),
        [this, from, to, epoch = link.epoch, bytes] { Arrive(from, to, epoch, bytes); });
  }
  if (wild && random_.Chance(options.replay) && !link.old.empty()) {
    context_.coverage->Count(Mark::kMessageReplayed);
    context_.scheduler->At(arrival_us,
                           [this, from, to, bytes = link.old[random_.Below(link.old.size())]] {
                             Deliver(from, to, bytes);
                           });
  }
  if (options.replay > 0 && random_.Chance(0.05)) {
    link.old.push_back(bytes);
    if (link.old.size() > kOldMax) link.old.erase(link.old.begin() + random_.Below(kOldMax));
  }
}

void SimNetwork::Arrive(size_t from, size_t to, uint64_t epoch, grpc::ByteBuffer bytes) {
  Link& link = LinkOf(from, to);
  const uint64_t now_us = context_.now_us();
  if (link.clogged_until_us > now_us) {
    context_.scheduler->At(link.clogged_until_us,
                           [this, from, to, epoch, bytes] { Arrive(from, to, epoch, bytes); });
    return;
  }
  --link.under_way;
  const bool lost = epoch != link.epoch && (epoch + 1 != link.epoch || now_us >= link.lost_from_us);
  if (lost || link.cuts > 0) return;
  Deliver(from, to, bytes);
}

void SimNetwork::Deliver(size_t from, size_t to, grpc::ByteBuffer bytes) {
  if (!ends_->IsAlive(to)) return;
  absl::StatusOr<Envelope> envelope = DecodeEnvelope(&bytes);
  auto* messages = envelope.ok() ? std::get_if<std::vector<Message>>(&envelope.value()) : nullptr;
  if (messages == nullptr || messages->size() != 1) {
    context_.checker->Violate(
        fmt::format("a message from {} to {} does not pass the wire codec: {}", NodeName(from),
                    NodeName(to), envelope.status().ToString()));
    return;
  }
  Message& message = messages->front();
  context_.trace->Mix(message.term.value() << 8 | message.body.index() << 4 | from << 2 | to);
  if (context_.trace->on()) context_.trace->Say(DescribeMessage(message));
  ends_->OnMessage(to, std::move(message));
}

void SimNetwork::OnStart(size_t node) {
  for (size_t other = 0; other < nodes_; ++other) {
    if (other == node) continue;
    TryOpen(node, other);
    TryOpen(other, node);
  }
}

void SimNetwork::OnEnd(size_t node) {
  for (size_t other = 0; other < nodes_; ++other) {
    if (other == node) continue;
    LinkOf(node, other).up = false;
    Break(node, other);
    Break(other, node);
  }
}

void SimNetwork::Clog(size_t from, size_t to, uint64_t until_us) {
  LinkOf(from, to).clogged_until_us = std::max(LinkOf(from, to).clogged_until_us, until_us);
}

void SimNetwork::ReplayOld(size_t to) {
  for (size_t from = 0; from < nodes_; ++from) {
    for (const grpc::ByteBuffer& bytes : LinkOf(from, to).old) {
      if (random_.Chance(0.5)) continue;
      context_.coverage->Count(Mark::kMessageReplayed);
      context_.scheduler->After(Exponential(&random_, 100 * context_.options->delay_mean_us),
                                [this, from, to, bytes] { Deliver(from, to, bytes); });
    }
  }
}

void SimNetwork::HealAll() {
  calm_ = true;
  for (Link& link : links_) {
    link.cuts = 0;
    link.clogged_until_us = 0;
  }
}

void SimNetwork::Break(size_t from, size_t to) {
  Link& link = LinkOf(from, to);
  ++link.epoch;
  link.lost_from_us = context_.now_us() + random_.Below(2 * context_.options->delay_mean_us + 1);
  Down(from, to);
}

// The sender hears of it a little later; nobody listens where a process has ended.
void SimNetwork::Down(size_t from, size_t to) {
  Link& link = LinkOf(from, to);
  if (std::exchange(link.up, false) && ends_->IsAlive(from)) {
    const bool refused = !ends_->IsAlive(to) && link.cuts == 0 && LinkOf(to, from).cuts == 0;
    ends_->OnLink(from, LinkDown{NodeId(to + 1), refused});
  }
  TryOpen(from, to);
}

void SimNetwork::TryOpen(size_t from, size_t to) {
  Link& link = LinkOf(from, to);
  if (link.up || std::exchange(link.opening, true)) return;
  context_.scheduler->After(1000 + Exponential(&random_, kReopenMeanUs), [this, from, to] {
    Link& link = LinkOf(from, to);
    link.opening = false;
    if (!ends_->IsAlive(from)) return;
    const uint64_t now_us = context_.now_us();
    const bool reachable = ends_->IsAlive(to) && link.cuts == 0 && LinkOf(to, from).cuts == 0 &&
                           link.clogged_until_us <= now_us;
    if (!reachable) return TryOpen(from, to);
    link.up = true;
    ends_->OnLink(from, LinkUp{NodeId(to + 1)});
  });
}

}  // namespace skein::sim
