#include "tests/sim/sim_network.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "replication/grpc/wire_codec.h"
#include "tests/sim/checker.h"

namespace skein::sim {
namespace {

constexpr size_t kUnderWayMax = 256;  // of each kind
constexpr size_t kOldMax = 32;
constexpr size_t kAnswersMax = 12;
constexpr uint64_t kReopenMeanUs = 30'000;

size_t PlaceOf(NodeId id) { return id.value() - 1; }

std::string Show(const Position& at) {
  return fmt::format("{}.{}", at.term.value(), at.index.value());
}

struct BodyText {
  std::string operator()(const AppendMessage& m) const {
    std::string text = fmt::format("{} after {} commit {}", m.relayed ? "relayed append" : "append",
                                   Show(m.previous), m.commit.value());
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
  std::string operator()(const SnapshotOffer& m) const {
    return fmt::format("snapshot-offer {} of {} at least {}", m.id, NodeName(PlaceOf(m.source)),
                       m.at_least.value());
  }
  std::string operator()(const SnapshotReport& m) const {
    return fmt::format("snapshot-report {} phase {} index {} {}", m.id, static_cast<int>(m.phase),
                       m.index.value(), m.error);
  }
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
  if (to >= nodes_) return;
  Link& link = LinkOf(from, to);
  const size_t kind = message.IsBulk() ? 1 : 0;
  if (!link.up || link.stream->under_way[kind] >= kUnderWayMax) return;
  const SimOptions& options = *context_.options;
  const bool wild = !calm_;
  if (wild && random_.Chance(options.loss)) {
    context_.coverage->Count(Mark::kMessageLost);
    return;
  }
  const grpc::ByteBuffer bytes = EncodeMessages({&message, 1});
  uint64_t arrival_us =
      context_.now_us() + options.delay_min_us + Exponential(&random_, options.delay_mean_us);
  uint64_t& last_us = link.stream->last_arrival_us[kind];
  if (wild && random_.Chance(options.reorder)) {
    context_.coverage->Count(Mark::kMessageReordered);
  } else {
    arrival_us = last_us = std::max(arrival_us, last_us + 1);
  }
  const bool twice = wild && random_.Chance(options.duplicate);
  if (twice) context_.coverage->Count(Mark::kMessageDuplicated);
  for (int copy = 0; copy < (twice ? 2 : 1); ++copy) {
    ++link.stream->under_way[kind];
    context_.scheduler->At(arrival_us + copy * Exponential(&random_, options.delay_mean_us),
                           [this, from, to, stream = link.stream, kind, bytes] {
                             Arrive(from, to, stream, {kind, bytes});
                           });
  }
  if (wild && random_.Chance(options.replay) && !link.old.empty()) {
    context_.coverage->Count(Mark::kMessageReplayed);
    context_.scheduler->At(arrival_us,
                           [this, from, to, bytes = link.old[random_.Below(link.old.size())]] {
                             Deliver(from, to, bytes);
                           });
  }
  Remember(message, bytes, &link);
}

void SimNetwork::Remember(const Message& message, const grpc::ByteBuffer& bytes, Link* link) {
  if (context_.options->replay > 0 && random_.Chance(0.05)) {
    link->old.push_back(bytes);
    if (link->old.size() > kOldMax) link->old.erase(link->old.begin() + random_.Below(kOldMax));
  }
  const auto* append = std::get_if<AppendAck>(&message.body);
  const auto* vote = std::get_if<VoteAck>(&message.body);
  const bool agrees = (append != nullptr && !append->rejected) ||
                      (vote != nullptr && vote->granted) ||
                      std::holds_alternative<HeartbeatAck>(message.body);
  if (context_.options->stale == 0 || !agrees) return;
  link->answers.insert_or_assign({message.term, message.body.index()}, bytes);
  if (link->answers.size() > kAnswersMax) link->answers.erase(link->answers.begin());
}

// Behind what was held before, so that a clog does not change the order.
void SimNetwork::Arrive(size_t from, size_t to, const StreamPtr& stream, Parcel parcel) {
  const uint64_t until_us = LinkOf(from, to).clogged_until_us;
  if (until_us <= context_.now_us() && stream->held.empty()) {
    return Pass(from, to, stream, std::move(parcel));
  }
  stream->held.push_back(std::move(parcel));
  if (stream->held.size() > 1) return;
  context_.scheduler->At(until_us, [this, from, to, stream] { Release(from, to, stream); });
}

void SimNetwork::Release(size_t from, size_t to, const StreamPtr& stream) {
  const uint64_t until_us = LinkOf(from, to).clogged_until_us;
  if (until_us > context_.now_us()) {  // clogged for longer meanwhile
    context_.scheduler->At(until_us, [this, from, to, stream] { Release(from, to, stream); });
    return;
  }
  for (Parcel& parcel : std::exchange(stream->held, {})) Pass(from, to, stream, std::move(parcel));
}

void SimNetwork::Pass(size_t from, size_t to, const StreamPtr& stream, Parcel parcel) {
  Link& link = LinkOf(from, to);
  --stream->under_way[parcel.kind];
  if (link.cuts > 0) stream->swallows = true;
  if (stream->swallows || context_.now_us() >= stream->lost_from_us) return;
  if (std::exchange(link.garbles, false)) return DeliverGarbled(from, to, parcel.bytes);
  Deliver(from, to, std::move(parcel.bytes));
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

// Who receives it ends the stream.
void SimNetwork::DeliverGarbled(size_t from, size_t to, const grpc::ByteBuffer& bytes) {
  context_.coverage->Count(Mark::kMessageGarbled);
  std::vector<grpc::Slice> slices;
  SKEIN_CHECK(bytes.Dump(&slices).ok());
  std::string flat;
  for (const grpc::Slice& slice : slices) {
    flat.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  flat[random_.Below(flat.size())] ^= static_cast<char>(random_.Between(1, 255));
  const grpc::Slice changed(flat);
  grpc::ByteBuffer garbled(&changed, 1);
  if (DecodeEnvelope(&garbled).ok()) {
    context_.checker->Violate(fmt::format("a message from {} to {} passes the wire codec damaged",
                                          NodeName(from), NodeName(to)));
  }
  BreakAt(from, to, context_.now_us());
}

void SimNetwork::OnStart(size_t node) {
  for (size_t other = 0; other < nodes_; ++other) {
    if (other == node) continue;
    TryOpen(node, other);
    TryOpen(other, node);
  }
}

// What the process has sent may arrive after its end; what was sent to it does not reach the next.
void SimNetwork::OnEnd(size_t node) {
  for (size_t other = 0; other < nodes_; ++other) {
    if (other == node) continue;
    Break(node, other);
    LinkOf(node, other).told = Told::kNothing;
    BreakAt(other, node, context_.now_us());
  }
}

void SimNetwork::Forget(size_t node) {
  for (size_t other = 0; other < nodes_; ++other) {
    for (Link* link : {&LinkOf(node, other), &LinkOf(other, node)}) {
      link->old.clear();
      link->answers.clear();
      ++link->wipes;
    }
  }
}

bool SimNetwork::Reaches(size_t from, size_t to) {
  const Link& link = LinkOf(from, to);
  return ends_->IsAlive(to) && link.cuts == 0 && link.clogged_until_us <= context_.now_us();
}

void SimNetwork::Cut(size_t from, size_t to) {
  Link& link = LinkOf(from, to);
  ++link.cuts;
  const uint64_t number = ++link.cut_number;
  context_.scheduler->After(context_.options->given_up_after_us, [this, from, to, number] {
    const Link& link = LinkOf(from, to);
    if (link.cuts == 0 || link.cut_number != number) return;
    if (link.stream->swallows) Break(from, to);
    if (LinkOf(to, from).up) Break(to, from);  // no receipt comes back
  });
}

void SimNetwork::Uncut(size_t from, size_t to) {
  Link& link = LinkOf(from, to);
  if (--link.cuts == 0 && link.stream->swallows) Break(from, to);
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

void SimNetwork::ReplayAnswers(size_t to, Term before, uint64_t within_us) {
  for (size_t from = 0; from < nodes_; ++from) {
    const uint64_t wipes = LinkOf(from, to).wipes;
    for (const auto& [key, bytes] : LinkOf(from, to).answers) {
      if (key.first >= before || random_.Chance(0.3)) continue;
      context_.coverage->Count(Mark::kMessageReplayed);
      context_.scheduler->After(random_.Below(within_us + 1),
                                [this, from, to, wipes, bytes = bytes] {
                                  if (!calm_ && LinkOf(from, to).wipes == wipes)
                                    Deliver(from, to, bytes);
                                });
    }
  }
}

void SimNetwork::HealAll() {
  calm_ = true;
  for (size_t from = 0; from < nodes_; ++from) {
    for (size_t to = 0; to < nodes_; ++to) {
      Link& link = LinkOf(from, to);
      link.cuts = 0;
      link.clogged_until_us = 0;
      link.garbles = false;
      // What was held back need not wait until the clog would have been over.
      context_.scheduler->After(
          0, [this, from, to, stream = link.stream] { Release(from, to, stream); });
      if (link.stream->swallows) Break(from, to);
    }
  }
}

void SimNetwork::Break(size_t from, size_t to) {
  BreakAt(from, to, context_.now_us() + random_.Below(2 * context_.options->delay_mean_us + 1));
}

void SimNetwork::BreakAt(size_t from, size_t to, uint64_t lost_from_us) {
  Link& link = LinkOf(from, to);
  link.stream->lost_from_us = std::min(link.stream->lost_from_us, lost_from_us);
  link.stream = std::make_shared<Stream>();
  link.up = false;
  TellDown(from, to);
  TryOpen(from, to);
}

// Nobody listens where a process has ended.
void SimNetwork::TellDown(size_t from, size_t to) {
  Link& link = LinkOf(from, to);
  const bool refused = !ends_->IsAlive(to) && CanConnect(from, to);
  const bool news = link.told == Told::kUp || (link.told == Told::kDown && refused);
  if (!news || !ends_->IsAlive(from)) return;
  link.told = refused ? Told::kRefused : Told::kDown;
  ends_->OnLink(from, LinkDown{NodeId(to + 1), refused});
}

bool SimNetwork::CanConnect(size_t from, size_t to) {
  const Link& link = LinkOf(from, to);
  return link.cuts == 0 && LinkOf(to, from).cuts == 0 && link.clogged_until_us <= context_.now_us();
}

void SimNetwork::TryOpen(size_t from, size_t to) {
  Link& link = LinkOf(from, to);
  if (link.up || std::exchange(link.opening, true)) return;
  context_.scheduler->After(1000 + Exponential(&random_, kReopenMeanUs), [this, from, to] {
    Link& link = LinkOf(from, to);
    link.opening = false;
    if (!ends_->IsAlive(from)) return;
    if (!ends_->IsAlive(to) || !CanConnect(from, to)) {
      TellDown(from, to);
      return TryOpen(from, to);
    }
    link.up = true;
    link.told = Told::kUp;
    ends_->OnLink(from, LinkUp{NodeId(to + 1)});
  });
}

}  // namespace skein::sim
