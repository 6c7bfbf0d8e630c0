#include "replication/grpc/wire_codec.h"

#include <fmt/format.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "common/checksum.h"
#include "common/coding.h"
#include "common/error.h"
#include "skein/v1/replication.pb.h"

namespace skein {
namespace {

// A field key of protobuf's wire format whose value has a length.
constexpr uint8_t LengthDelimited(int field) { return static_cast<uint8_t>(field << 3 | 2); }
constexpr uint8_t kEnvelopeMessages = LengthDelimited(v1::PeerEnvelope::kMessagesFieldNumber);
constexpr uint8_t kMessagesMessage = LengthDelimited(v1::PeerMessages::kMessagesFieldNumber);
constexpr uint8_t kMessageAppend = LengthDelimited(v1::PeerMessage::kAppendFieldNumber);
constexpr uint8_t kAppendEntry = LengthDelimited(v1::Append::kEntriesFieldNumber);

// Closes an envelope and an answer.
constexpr int kChecksumField = v1::PeerEnvelope::kChecksumFieldNumber;
static_assert(kChecksumField == int{v1::PeerAnswer::kChecksumFieldNumber});
constexpr uint8_t kChecksum = kChecksumField << 3 | 1;
constexpr size_t kSealBytes = 1 + sizeof(uint64_t);

// Frames below this size are copied: a slice of their own would cost more.
constexpr size_t kSharedFrom = 2048;

size_t VarintBytes(uint64_t v) {
  size_t bytes = 1;
  for (; v >= 0x80; v >>= 7) ++bytes;
  return bytes;
}

size_t FieldBytes(size_t length) { return 1 + VarintBytes(length) + length; }

template <typename Owner>
grpc::Slice OwnedSlice(std::unique_ptr<Owner> owner, const std::string& bytes) {
  return grpc::Slice(
      const_cast<char*>(bytes.data()), bytes.size(),
      [](void* data) { delete static_cast<Owner*>(data); }, owner.release());
}

std::vector<std::string_view> ViewsOf(const std::vector<grpc::Slice>& slices) {
  std::vector<std::string_view> views;
  views.reserve(slices.size());
  for (const grpc::Slice& slice : slices) {
    views.emplace_back(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return views;
}

// Gathers bytes that are copied and frames that are shared, in order.
class SliceWriter {
 public:
  std::string& bytes() { return *bytes_; }

  void AddFrame(const EntryPtr& entry) {
    if (entry->bytes() < kSharedFrom) {
      bytes_->append(entry->frame());
      return;
    }
    Cut();
    auto owner = std::make_unique<EntryPtr>(entry);
    slices_.push_back(OwnedSlice(std::move(owner), entry->frame()));
  }

  grpc::ByteBuffer Finish() {
    Cut();
    std::string seal;
    PutFixed8(&seal, kChecksum);
    PutFixed64(&seal, Checksum64(ViewsOf(slices_)));
    slices_.emplace_back(seal);
    return grpc::ByteBuffer(slices_.data(), slices_.size());
  }

 private:
  void Cut() {
    if (bytes_->empty()) return;
    const std::string& bytes = *bytes_;
    slices_.push_back(OwnedSlice(std::move(bytes_), bytes));
    bytes_ = std::make_unique<std::string>();
  }

  std::unique_ptr<std::string> bytes_ = std::make_unique<std::string>();
  std::vector<grpc::Slice> slices_;
};

void FillBody(const AppendMessage& body, v1::PeerMessage* wire) {
  v1::Append* out = wire->mutable_append();
  out->set_prev_term(body.previous.term.value());
  out->set_prev_index(body.previous.index.value());
  out->set_prev_chain(body.previous_chain);
  out->set_commit_index(body.commit.value());
}

void FillBody(const AppendAck& body, v1::PeerMessage* wire) {
  v1::AppendAck* out = wire->mutable_append_ack();
  out->set_rejected(body.rejected);
  out->set_match_index(body.match.value());
  out->set_applied_index(body.applied.value());
  out->set_prev_index(body.previous_index.value());
  out->set_last_term(body.last.at.term.value());
  out->set_last_index(body.last.at.index.value());
  out->set_last_chain(body.last.chain);
  out->set_commit_index(body.commit.value());
}

void FillBody(const HeartbeatMessage& body, v1::PeerMessage* wire) {
  v1::Heartbeat* out = wire->mutable_heartbeat();
  out->set_round(body.round);
  out->set_commit_index(body.commit.value());
  out->set_trim_index(body.trim.value());
  out->set_fresh_stamp_us(body.fresh_stamp_us);
  out->set_fresh_index(body.fresh_index.value());
}

void FillBody(const HeartbeatAck& body, v1::PeerMessage* wire) {
  v1::HeartbeatAck* out = wire->mutable_heartbeat_ack();
  out->set_round(body.round);
  out->set_stamp_us(body.stamp_us);
  out->set_applied_index(body.applied.value());
  out->set_match_index(body.match.value());
}

void FillBody(const VoteMessage& body, v1::PeerMessage* wire) {
  v1::Vote* out = wire->mutable_vote();
  out->set_pre(body.pre);
  out->set_transfer(body.transfer);
  out->set_last_term(body.last.term.value());
  out->set_last_index(body.last.index.value());
}

void FillBody(const VoteAck& body, v1::PeerMessage* wire) {
  v1::VoteAck* out = wire->mutable_vote_ack();
  out->set_pre(body.pre);
  out->set_granted(body.granted);
  out->set_refusal(body.refusal);
}

void FillBody(const ReadIndexMessage& body, v1::PeerMessage* wire) {
  wire->mutable_read_index()->set_id(body.id);
}

void FillBody(const ReadIndexAck& body, v1::PeerMessage* wire) {
  v1::ReadIndexAck* out = wire->mutable_read_index_ack();
  out->set_id(body.id);
  out->set_granted(body.granted);
  out->set_index(body.index.value());
}

void FillBody(const TimeoutNowMessage&, v1::PeerMessage* wire) { wire->mutable_timeout_now(); }

void FillBody(const SnapshotOffer& body, v1::PeerMessage* wire) {
  v1::SnapshotOffer* out = wire->mutable_snapshot_offer();
  out->set_id(body.id);
  out->set_source(body.source.value());
  out->set_source_address(body.source_address);
  out->set_at_least_index(body.at_least.value());
}

void FillBody(const SnapshotReport& body, v1::PeerMessage* wire) {
  v1::SnapshotReport* out = wire->mutable_snapshot_report();
  out->set_id(body.id);
  out->set_phase(static_cast<uint32_t>(body.phase));
  out->set_index(body.index.value());
  out->set_bytes_done(body.bytes_done);
  out->set_bytes_total(body.bytes_total);
  out->set_error(body.error);
}

// A PeerMessage of which all but the entries is serialised.
struct Prepared {
  std::string head;         // of PeerMessage: everything outside of the Append
  std::string append_head;  // of Append: everything but the entries
  const std::vector<EntryPtr>* entries = nullptr;
  size_t append_bytes = 0;
  size_t bytes = 0;
};

Prepared Prepare(const Message& message) {
  v1::PeerMessage wire;
  wire.set_from(message.from.value());
  wire.set_to(message.to.value());
  wire.set_term(message.term.value());
  Prepared prepared;
  const auto* append = std::get_if<AppendMessage>(&message.body);
  if (append == nullptr) {
    std::visit([&wire](const auto& body) { FillBody(body, &wire); }, message.body);
    wire.SerializeToString(&prepared.head);
    prepared.bytes = prepared.head.size();
    return prepared;
  }
  wire.SerializeToString(&prepared.head);
  FillBody(*append, &wire);
  wire.append().SerializeToString(&prepared.append_head);
  prepared.entries = &append->entries;
  prepared.append_bytes = prepared.append_head.size();
  for (const EntryPtr& entry : append->entries) prepared.append_bytes += FieldBytes(entry->bytes());
  prepared.bytes = prepared.head.size() + FieldBytes(prepared.append_bytes);
  return prepared;
}

void Write(const Prepared& prepared, SliceWriter* out) {
  PutFixed8(&out->bytes(), kMessagesMessage);
  PutVarint(&out->bytes(), prepared.bytes);
  out->bytes() += prepared.head;
  if (prepared.entries == nullptr) return;
  PutFixed8(&out->bytes(), kMessageAppend);
  PutVarint(&out->bytes(), prepared.append_bytes);
  out->bytes() += prepared.append_head;
  for (const EntryPtr& entry : *prepared.entries) {
    PutFixed8(&out->bytes(), kAppendEntry);
    PutVarint(&out->bytes(), entry->bytes());
    out->AddFrame(entry);
  }
}

void Fill(const Hello& hello, v1::PeerHello* wire) {
  wire->set_cluster_id(hello.sender.cluster_id);
  wire->set_node_id(hello.sender.node.value());
  wire->set_node_name(hello.sender.name);
  wire->set_incarnation(hello.sender.incarnation);
  wire->set_protocol_version(hello.sender.protocol_version);
  wire->set_to_node_id(hello.to.value());
  wire->set_membership_index(hello.membership_index.value());
  wire->set_address(hello.address);
  wire->set_history(hello.sender.history);
}

Hello FromWire(v1::PeerHello wire) {
  return {.sender = {.cluster_id = wire.cluster_id(),
                     .node = NodeId(wire.node_id()),
                     .name = std::move(*wire.mutable_node_name()),
                     .incarnation = wire.incarnation(),
                     .protocol_version = wire.protocol_version(),
                     .history = wire.history()},
          .to = NodeId(wire.to_node_id()),
          .membership_index = Index(wire.membership_index()),
          .address = std::move(*wire.mutable_address())};
}

absl::StatusOr<MessageBody> DecodeAppend(v1::Append* wire, Term term) {
  AppendMessage body;
  body.previous = {Term(wire->prev_term()), Index(wire->prev_index())};
  body.previous_chain = wire->prev_chain();
  body.commit = Index(wire->commit_index());
  body.entries.reserve(static_cast<size_t>(wire->entries_size()));
  Position last = body.previous;
  uint64_t chain = body.previous_chain;
  for (std::string& frame : *wire->mutable_entries()) {
    absl::StatusOr<EntryPtr> parsed = Entry::Parse(std::move(frame));
    if (!parsed.ok()) return parsed.status();
    const Entry& entry = **parsed;
    const bool dense_revisions =
        body.entries.empty() ||
        entry.first_revision() == body.entries.back()->last_revision().Next();
    if (entry.index() != last.index.Next() || entry.term() < last.term || entry.term() > term ||
        entry.chain() != ChainHash(chain, entry.checksum()) || !dense_revisions) {
      return absl::DataLossError(fmt::format(
          "entry {} of term {} does not continue entry {} of term {}", entry.index().value(),
          entry.term().value(), last.index.value(), last.term.value()));
    }
    last = entry.position();
    chain = entry.chain();
    body.entries.push_back(*std::move(parsed));
  }
  return body;
}

AppendAck FromWire(const v1::AppendAck& wire) {
  return {.rejected = wire.rejected(),
          .match = Index(wire.match_index()),
          .applied = Index(wire.applied_index()),
          .previous_index = Index(wire.prev_index()),
          .last = {.at = {Term(wire.last_term()), Index(wire.last_index())},
                   .chain = wire.last_chain()},
          .commit = Index(wire.commit_index())};
}

HeartbeatMessage FromWire(const v1::Heartbeat& wire) {
  return {.round = wire.round(),
          .commit = Index(wire.commit_index()),
          .trim = Index(wire.trim_index()),
          .fresh_stamp_us = wire.fresh_stamp_us(),
          .fresh_index = Index(wire.fresh_index())};
}

HeartbeatAck FromWire(const v1::HeartbeatAck& wire) {
  return {.round = wire.round(),
          .stamp_us = wire.stamp_us(),
          .applied = Index(wire.applied_index()),
          .match = Index(wire.match_index())};
}

absl::StatusOr<MessageBody> DecodeReport(v1::SnapshotReport* wire) {
  const uint32_t phase = wire->phase();
  if (phase < static_cast<uint32_t>(SnapshotPhase::kFetching) ||
      phase > static_cast<uint32_t>(SnapshotPhase::kFailed)) {
    return absl::InvalidArgumentError(fmt::format("a snapshot is in phase {}, unknown", phase));
  }
  return SnapshotReport{.id = wire->id(),
                        .phase = static_cast<SnapshotPhase>(phase),
                        .index = Index(wire->index()),
                        .bytes_done = wire->bytes_done(),
                        .bytes_total = wire->bytes_total(),
                        .error = std::move(*wire->mutable_error())};
}

absl::StatusOr<MessageBody> DecodeBody(v1::PeerMessage* wire) {
  switch (wire->body_case()) {
    case v1::PeerMessage::kAppend:
      return DecodeAppend(wire->mutable_append(), Term(wire->term()));
    case v1::PeerMessage::kAppendAck:
      return FromWire(wire->append_ack());
    case v1::PeerMessage::kHeartbeat:
      return FromWire(wire->heartbeat());
    case v1::PeerMessage::kHeartbeatAck:
      return FromWire(wire->heartbeat_ack());
    case v1::PeerMessage::kVote: {
      const v1::Vote& vote = wire->vote();
      return VoteMessage{.pre = vote.pre(),
                         .transfer = vote.transfer(),
                         .last = {Term(vote.last_term()), Index(vote.last_index())}};
    }
    case v1::PeerMessage::kVoteAck: {
      v1::VoteAck* ack = wire->mutable_vote_ack();
      return VoteAck{.pre = ack->pre(),
                     .granted = ack->granted(),
                     .refusal = std::move(*ack->mutable_refusal())};
    }
    case v1::PeerMessage::kReadIndex:
      return ReadIndexMessage{.id = wire->read_index().id()};
    case v1::PeerMessage::kReadIndexAck: {
      const v1::ReadIndexAck& ack = wire->read_index_ack();
      return ReadIndexAck{.id = ack.id(), .granted = ack.granted(), .index = Index(ack.index())};
    }
    case v1::PeerMessage::kTimeoutNow:
      return TimeoutNowMessage{};
    case v1::PeerMessage::kSnapshotOffer: {
      v1::SnapshotOffer* offer = wire->mutable_snapshot_offer();
      return SnapshotOffer{.id = offer->id(),
                           .source = NodeId(offer->source()),
                           .source_address = std::move(*offer->mutable_source_address()),
                           .at_least = Index(offer->at_least_index())};
    }
    case v1::PeerMessage::kSnapshotReport:
      return DecodeReport(wire->mutable_snapshot_report());
    case v1::PeerMessage::BODY_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a message has no body that this program knows");
}

absl::StatusOr<Message> DecodeMessage(v1::PeerMessage* wire) {
  Message message{
      .from = NodeId(wire->from()), .to = NodeId(wire->to()), .term = Term(wire->term())};
  if (message.from == NodeId() || message.to == NodeId()) {
    return absl::InvalidArgumentError("a message does not name its sender and its receiver");
  }
  absl::StatusOr<MessageBody> body = DecodeBody(wire);
  if (!body.ok()) return body.status();
  message.body = *std::move(body);
  return message;
}

// Whether the bytes are those that were sent.
bool IsIntact(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  if (bytes.Length() < kSealBytes || !bytes.Dump(&slices).ok()) return false;
  std::vector<std::string_view> views = ViewsOf(slices);
  std::string seal;
  while (seal.size() < kSealBytes) {
    std::string_view& last = views.back();
    const size_t taken = std::min(last.size(), kSealBytes - seal.size());
    seal.insert(0, last.substr(last.size() - taken));
    last.remove_suffix(taken);
    if (last.empty()) views.pop_back();
  }
  return static_cast<uint8_t>(seal.front()) == kChecksum &&
         DecodeFixed64(seal.data() + 1) == Checksum64(views);
}

template <typename Wire>
absl::Status Parse(grpc::ByteBuffer* bytes, const char* name, Wire* wire) {
  if (!IsIntact(*bytes)) {
    return absl::DataLossError(
        fmt::format("the checksum of a {} does not match: it was damaged on the way", name));
  }
  if (grpc::SerializationTraits<Wire>::Deserialize(bytes, wire).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(fmt::format("not a {}", name));
}

grpc::ByteBuffer Serialise(const google::protobuf::MessageLite& wire) {
  SliceWriter out;
  wire.AppendToString(&out.bytes());
  return out.Finish();
}

}  // namespace

size_t WireBytes(const Message& message) {
  constexpr size_t kFixed = 160;  // more than all numbers of any message, with their keys
  constexpr size_t kPerEntry = 8;
  if (const auto* append = std::get_if<AppendMessage>(&message.body)) {
    return kFixed + TotalBytes(append->entries) + kPerEntry * append->entries.size();
  }
  if (const auto* ack = std::get_if<VoteAck>(&message.body)) return kFixed + ack->refusal.size();
  if (const auto* offer = std::get_if<SnapshotOffer>(&message.body)) {
    return kFixed + offer->source_address.size();
  }
  if (const auto* report = std::get_if<SnapshotReport>(&message.body)) {
    return kFixed + report->error.size();
  }
  return kFixed;
}

grpc::ByteBuffer EncodeMessages(std::span<const Message> messages) {
  std::vector<Prepared> all;
  all.reserve(messages.size());
  size_t bytes = 0;
  for (const Message& message : messages) {
    all.push_back(Prepare(message));
    bytes += FieldBytes(all.back().bytes);
  }
  SliceWriter out;
  PutFixed8(&out.bytes(), kEnvelopeMessages);
  PutVarint(&out.bytes(), bytes);
  for (const Prepared& prepared : all) Write(prepared, &out);
  return out.Finish();
}

grpc::ByteBuffer EncodeHello(const Hello& hello) {
  v1::PeerEnvelope wire;
  Fill(hello, wire.mutable_hello());
  return Serialise(wire);
}

grpc::ByteBuffer EncodeReceiptWanted(ReceiptWanted wanted) {
  v1::PeerEnvelope wire;
  wire.set_receipt_wanted(wanted.number);
  return Serialise(wire);
}

absl::StatusOr<Envelope> DecodeEnvelope(grpc::ByteBuffer* bytes) {
  v1::PeerEnvelope wire;
  const absl::Status parsed = Parse(bytes, "PeerEnvelope", &wire);
  if (!parsed.ok()) return parsed;
  if (wire.has_hello()) return FromWire(std::move(*wire.mutable_hello()));
  if (wire.has_receipt_wanted()) return ReceiptWanted{wire.receipt_wanted()};
  if (!wire.has_messages()) {
    return absl::InvalidArgumentError("a PeerEnvelope has no content that this program knows");
  }
  std::vector<Message> messages;
  messages.reserve(static_cast<size_t>(wire.messages().messages_size()));
  for (v1::PeerMessage& message : *wire.mutable_messages()->mutable_messages()) {
    absl::StatusOr<Message> decoded = DecodeMessage(&message);
    if (!decoded.ok()) return decoded.status();
    messages.push_back(*std::move(decoded));
  }
  return messages;
}

grpc::ByteBuffer EncodeAnswer(const Hello& hello) {
  v1::PeerAnswer wire;
  Fill(hello, wire.mutable_hello());
  return Serialise(wire);
}

grpc::ByteBuffer EncodeAnswer(Receipt receipt) {
  v1::PeerAnswer wire;
  wire.set_receipt(receipt.number);
  return Serialise(wire);
}

absl::StatusOr<Answer> DecodeAnswer(grpc::ByteBuffer* bytes) {
  v1::PeerAnswer wire;
  const absl::Status parsed = Parse(bytes, "PeerAnswer", &wire);
  if (!parsed.ok()) return parsed;
  if (wire.has_hello()) return FromWire(std::move(*wire.mutable_hello()));
  if (wire.has_receipt()) return Receipt{wire.receipt()};
  return absl::InvalidArgumentError("a PeerAnswer has no content that this program knows");
}

}  // namespace skein
