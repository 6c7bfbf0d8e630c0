#include "replication/grpc/wire_codec.h"

#include <grpcpp/support/byte_buffer.h>
#include <gtest/gtest.h>

#include <string>

#include "common/checksum.h"
#include "common/coding.h"
#include "common/random.h"
#include "skein/v1/replication.pb.h"
#include "tests/replication/grpc/peer_fixture.h"

namespace skein {
namespace {

std::string Flat(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

absl::StatusOr<Envelope> Decode(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  grpc::ByteBuffer buffer(&slice, 1);
  return DecodeEnvelope(&buffer);
}

// With the checksum that an envelope ends with.
std::string Sealed(v1::PeerEnvelope envelope) {
  envelope.clear_checksum();
  envelope.set_checksum(Checksum64(envelope.SerializeAsString()));
  return envelope.SerializeAsString();
}

const NodeId kFrom(11);
const NodeId kTo(12);

// One message of each kind, no field at its default.
std::vector<Message> EveryKind() {
  const std::vector<EntryPtr> entries = MakeEntries(5, 3000);
  const std::vector<EntryPtr> small = MakeEntries(3, 10);
  std::vector<Message> messages;
  const auto add = [&messages](MessageBody body) {
    messages.push_back({kFrom, kTo, Term(9), std::move(body)});
  };
  add(AppendMessage{.previous = entries[1]->position(),
                    .previous_chain = entries[1]->chain(),
                    .commit = Index(2),
                    .entries = {entries[2], entries[3], entries[4]}});
  add(AppendMessage{.entries = small});
  add(AppendMessage{.previous = {Term(3), Index(4)}, .previous_chain = 5, .commit = Index(6)});
  add(AppendAck{.rejected = true,
                .match = Index(1),
                .applied = Index(2),
                .previous_index = Index(3),
                .last = {.at = {Term(4), Index(5)}, .chain = 6},
                .commit = Index(7)});
  add(HeartbeatMessage{.round = 1,
                       .commit = Index(2),
                       .trim = Index(3),
                       .fresh_stamp_us = 4,
                       .fresh_index = Index(5),
                       .feeds = {{NodeId(~0ull), Index(~0ull)}, {NodeId(7), Index(8)}}});
  add(HeartbeatAck{.round = 1, .stamp_us = 2, .applied = Index(3), .match = Index(4)});
  add(VoteMessage{.pre = true, .transfer = true, .last = {Term(1), Index(2)}});
  add(VoteAck{.pre = true, .granted = true, .refusal = "heard from n1 3 ms ago"});
  add(ReadIndexMessage{.id = ~0ull});
  add(ReadIndexAck{.id = 1, .granted = true, .index = Index(2)});
  add(TimeoutNowMessage{});
  add(SnapshotOffer{.id = 1, .source = NodeId(2), .source_address = "a:1", .at_least = Index(3)});
  add(SnapshotReport{.id = 1,
                     .phase = SnapshotPhase::kInstalled,
                     .index = Index(2),
                     .bytes_done = 3,
                     .bytes_total = 4,
                     .error = "no space"});
  return messages;
}

// All that is sent of a message, as text that is equal only for equal messages.
struct Describe {
  std::string operator()(const AppendMessage& m) const {
    std::string text = fmt::format("append {} {} {} {}", m.previous.term.value(),
                                   m.previous.index.value(), m.previous_chain, m.commit.value());
    for (const EntryPtr& entry : m.entries) text += " " + entry->frame();
    return text + (m.relayed ? " relayed" : "");
  }
  std::string operator()(const AppendAck& m) const {
    return fmt::format("append ack {} {} {} {} {} {} {} {}", m.rejected, m.match.value(),
                       m.applied.value(), m.previous_index.value(), m.last.at.term.value(),
                       m.last.at.index.value(), m.last.chain, m.commit.value());
  }
  std::string operator()(const HeartbeatMessage& m) const {
    std::string text = fmt::format("heartbeat {} {} {} {} {}", m.round, m.commit.value(),
                                   m.trim.value(), m.fresh_stamp_us, m.fresh_index.value());
    for (const Feed& feed : m.feeds) {
      text += fmt::format(" feed {} {}", feed.learner.value(), feed.after.value());
    }
    return text;
  }
  std::string operator()(const HeartbeatAck& m) const {
    return fmt::format("heartbeat ack {} {} {} {}", m.round, m.stamp_us, m.applied.value(),
                       m.match.value());
  }
  std::string operator()(const VoteMessage& m) const {
    return fmt::format("vote {} {} {} {}", m.pre, m.transfer, m.last.term.value(),
                       m.last.index.value());
  }
  std::string operator()(const VoteAck& m) const {
    return fmt::format("vote ack {} {} {}", m.pre, m.granted, m.refusal);
  }
  std::string operator()(const ReadIndexMessage& m) const { return fmt::format("read {}", m.id); }
  std::string operator()(const ReadIndexAck& m) const {
    return fmt::format("read ack {} {} {}", m.id, m.granted, m.index.value());
  }
  std::string operator()(const TimeoutNowMessage&) const { return "timeout now"; }
  std::string operator()(const SnapshotOffer& m) const {
    return fmt::format("offer {} {} {} {}", m.id, m.source.value(), m.source_address,
                       m.at_least.value());
  }
  std::string operator()(const SnapshotReport& m) const {
    return fmt::format("report {} {} {} {} {} {}", m.id, static_cast<int>(m.phase), m.index.value(),
                       m.bytes_done, m.bytes_total, m.error);
  }
};

std::string TextOf(const Message& m) {
  return fmt::format("{} {} {} {}", m.from.value(), m.to.value(), m.term.value(),
                     std::visit(Describe{}, m.body));
}

v1::PeerEnvelope ToProto(const std::vector<Message>& messages) {
  v1::PeerEnvelope proto;
  EXPECT_TRUE(proto.ParseFromString(Flat(EncodeMessages(messages))));
  return proto;
}

TEST(WireCodec, EveryKindOfMessageComesBackEqual) {
  const std::vector<Message> sent = EveryKind();
  for (const Message& message : sent) {
    grpc::ByteBuffer wire = EncodeMessages({&message, 1});
    EXPECT_LE(wire.Length(), WireBytes(message));
    const absl::StatusOr<Envelope> received = DecodeEnvelope(&wire);
    ASSERT_TRUE(received.ok()) << received.status();
    const auto& messages = std::get<std::vector<Message>>(*received);
    ASSERT_EQ(messages.size(), 1u);
    EXPECT_EQ(TextOf(messages[0]), TextOf(message));
    EXPECT_EQ(messages[0].body.index(), message.body.index());
  }
  grpc::ByteBuffer wire = EncodeMessages(sent);
  const absl::StatusOr<Envelope> received = DecodeEnvelope(&wire);
  ASSERT_TRUE(received.ok()) << received.status();
  const auto& messages = std::get<std::vector<Message>>(*received);
  ASSERT_EQ(messages.size(), sent.size());
  for (size_t i = 0; i < sent.size(); ++i) EXPECT_EQ(TextOf(messages[i]), TextOf(sent[i]));
}

// R36.
TEST(WireCodec, ARelayedAppendComesBackAsOne) {
  Message sent = MakeAppend(kFrom, kTo, MakeEntries(3, 100));
  std::get<AppendMessage>(sent.body).relayed = true;
  grpc::ByteBuffer wire = EncodeMessages({&sent, 1});
  EXPECT_LE(wire.Length(), WireBytes(sent));
  const absl::StatusOr<Envelope> received = DecodeEnvelope(&wire);
  ASSERT_TRUE(received.ok()) << received.status();
  EXPECT_EQ(TextOf(std::get<std::vector<Message>>(*received)[0]), TextOf(sent));
}

TEST(WireCodec, IsTheWireFormThatTheProtoDescribes) {
  const std::vector<Message> sent = EveryKind();
  const v1::PeerEnvelope proto = ToProto(sent);
  ASSERT_EQ(proto.messages().messages_size(), static_cast<int>(sent.size()));
  const v1::Append& append = proto.messages().messages(0).append();
  const auto& body = std::get<AppendMessage>(sent[0].body);
  ASSERT_EQ(append.entries_size(), 3);
  EXPECT_EQ(append.entries(2), body.entries[2]->frame());
  EXPECT_EQ(append.prev_chain(), body.previous_chain);
  EXPECT_EQ(proto.SerializeAsString(), Flat(EncodeMessages(sent)));
}

TEST(WireCodec, LargeFramesAreSharedWithTheLogAndOutliveIt) {
  std::vector<EntryPtr> entries = MakeEntries(1, 100000);
  const std::string frame = entries[0]->frame();
  const std::weak_ptr<const Entry> watch = entries[0];
  const char* data = entries[0]->frame().data();
  {
    const grpc::ByteBuffer wire =
        EncodeMessages(std::vector<Message>{MakeAppend(kFrom, kTo, std::move(entries))});
    EXPECT_FALSE(watch.expired());
    std::vector<grpc::Slice> slices;
    ASSERT_TRUE(wire.Dump(&slices).ok());
    bool shared = false;
    for (const grpc::Slice& slice : slices) {
      shared = shared || reinterpret_cast<const char*>(slice.begin()) == data;
    }
    EXPECT_TRUE(shared);
    EXPECT_NE(Flat(wire).find(frame), std::string::npos);
  }
  EXPECT_TRUE(watch.expired());
}

TEST(WireCodec, HellosComeBackEqual) {
  Hello hello{Identity("n1"), NodeIdOf("n2"), Index(1234567), "10.0.0.1:7411"};
  hello.sender.history = 0x1234567890abcdef;
  grpc::ByteBuffer wire = EncodeHello(hello);
  const absl::StatusOr<Envelope> received = DecodeEnvelope(&wire);
  ASSERT_TRUE(received.ok()) << received.status();
  grpc::ByteBuffer answer_wire = EncodeAnswer(hello);
  const absl::StatusOr<Answer> answer = DecodeAnswer(&answer_wire);
  ASSERT_TRUE(answer.ok()) << answer.status();
  for (const Hello& back : {std::get<Hello>(*received), std::get<Hello>(*answer)}) {
    EXPECT_EQ(back.sender.cluster_id, hello.sender.cluster_id);
    EXPECT_EQ(back.sender.node, hello.sender.node);
    EXPECT_EQ(back.sender.name, hello.sender.name);
    EXPECT_EQ(back.sender.incarnation, hello.sender.incarnation);
    EXPECT_EQ(back.sender.protocol_version, hello.sender.protocol_version);
    EXPECT_EQ(back.sender.oldest_protocol_version, hello.sender.oldest_protocol_version);
    EXPECT_EQ(back.sender.history, hello.sender.history);
    EXPECT_EQ(back.to, hello.to);
    EXPECT_EQ(back.membership_index, hello.membership_index);
    EXPECT_EQ(back.address, hello.address);
  }
}

// A build from before nodes told a range.
TEST(WireCodec, AHelloWithoutAnOldestVersionSpeaksOneAlone) {
  v1::PeerEnvelope proto;
  proto.mutable_hello()->set_protocol_version(1);
  proto.set_checksum(Checksum64(proto.SerializeAsString()));
  const grpc::Slice slice(proto.SerializeAsString());
  grpc::ByteBuffer wire(&slice, 1);
  const absl::StatusOr<Envelope> received = DecodeEnvelope(&wire);
  ASSERT_TRUE(received.ok()) << received.status();
  const PeerIdentity& sender = std::get<Hello>(*received).sender;
  EXPECT_EQ(sender.protocol_version, 1u);
  EXPECT_EQ(sender.oldest_protocol_version, 1u);
}

TEST(WireCodec, ReceiptsAndWishesForThemComeBackEqual) {
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
    grpc::ByteBuffer wish = EncodeReceiptWanted({number});
    const absl::StatusOr<Envelope> received = DecodeEnvelope(&wish);
    ASSERT_TRUE(received.ok()) << received.status();
    EXPECT_EQ(std::get<ReceiptWanted>(*received).number, number);
    grpc::ByteBuffer receipt = EncodeAnswer(Receipt{number});
    const absl::StatusOr<Answer> answer = DecodeAnswer(&receipt);
    ASSERT_TRUE(answer.ok()) << answer.status();
    EXPECT_EQ(std::get<Receipt>(*answer).number, number);
  }
}

TEST(WireCodec, AnAnswerWithoutContentIsRefused) {
  v1::PeerAnswer proto;
  proto.set_checksum(Checksum64(std::string_view()));
  const grpc::Slice slice(proto.SerializeAsString());
  grpc::ByteBuffer buffer(&slice, 1);
  EXPECT_EQ(DecodeAnswer(&buffer).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(WireCodec, RefusesMessagesWithoutBodySenderOrReceiver) {
  const std::vector<Message> heartbeat = {{kFrom, kTo, Term(1), HeartbeatMessage{}}};
  v1::PeerEnvelope no_body = ToProto(heartbeat);
  no_body.mutable_messages()->mutable_messages(0)->clear_body();
  v1::PeerEnvelope no_sender = ToProto(heartbeat);
  no_sender.mutable_messages()->mutable_messages(0)->clear_from();
  v1::PeerEnvelope no_receiver = ToProto(heartbeat);
  no_receiver.mutable_messages()->mutable_messages(0)->clear_to();
  const v1::PeerEnvelope no_content;
  for (const v1::PeerEnvelope& proto : {no_body, no_sender, no_receiver, no_content}) {
    EXPECT_EQ(Decode(Sealed(proto)).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(Decode(Sealed(ToProto(heartbeat))).ok());
  v1::PeerEnvelope unsealed = ToProto(heartbeat);
  unsealed.clear_checksum();
  EXPECT_EQ(Decode(unsealed.SerializeAsString()).status().code(), absl::StatusCode::kDataLoss);
}

TEST(WireCodec, RefusesEntriesThatDoNotContinueEachOther) {
  const std::vector<EntryPtr> entries = MakeEntries(4, 100);
  const LogPoint first = entries[0]->point();
  EXPECT_TRUE(Decode(Flat(EncodeMessages(std::vector<Message>{
                         MakeAppend(kFrom, kTo, {entries[1], entries[2]}, first)})))
                  .ok());
  Message old_term = MakeAppend(kFrom, kTo, {entries[1]}, first);
  old_term.term = Term(0);
  LogPoint other_chain = first;
  other_chain.chain ^= 1;
  LogPoint later_term = first;
  later_term.at.term = Term(2);
  const std::vector<Message> bad = {
      MakeAppend(kFrom, kTo, {entries[1], entries[3]}, first),
      MakeAppend(kFrom, kTo, {entries[2]}, first),
      MakeAppend(kFrom, kTo, {entries[1], entries[1]}, first),
      MakeAppend(kFrom, kTo, {entries[1]}, other_chain),
      MakeAppend(kFrom, kTo, {entries[1]}, later_term),
      old_term,
  };
  for (const Message& message : bad) {
    EXPECT_EQ(Decode(Flat(EncodeMessages({&message, 1}))).status().code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST(WireCodec, RefusesADamagedEntryUnderARightChecksum) {
  v1::PeerEnvelope envelope = ToProto({MakeAppend(kFrom, kTo, MakeEntries(1, 100))});
  EXPECT_TRUE(Decode(Sealed(envelope)).ok());
  std::string* frame =
      envelope.mutable_messages()->mutable_messages(0)->mutable_append()->mutable_entries(0);
  (*frame)[70] = static_cast<char>((*frame)[70] ^ 4);
  EXPECT_EQ(Decode(Sealed(envelope)).status().code(), absl::StatusCode::kDataLoss);
}

TEST(WireCodec, RandomBytesAreRefusedOrDecodedButNeverCrash) {
  Random random(1);
  size_t refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random.Below(200), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random.Below(256));
    // Half of them begin like messages.
    if (round % 2 == 0) bytes = "\x12" + std::string(1, static_cast<char>(bytes.size())) + bytes;
    PutFixed8(&bytes, 0x79);
    PutFixed64(&bytes, Checksum64(std::string_view(bytes).substr(0, bytes.size() - 1)));
    refused += Decode(bytes).ok() ? 0 : 1;
  }
  EXPECT_GT(refused, 19000u);
}

// Terms, votes and acknowledged indexes have no checksum of their own, and one that changes on the
// way can lose a write.
TEST(WireCodec, NoFlippedBitPasses) {
  const Hello hello{Identity("n1"), NodeIdOf("n2"), Index(1234567), "10.0.0.1:7411"};
  std::vector<std::string> all = {Flat(EncodeHello(hello)), Flat(EncodeReceiptWanted({7})),
                                  Flat(EncodeMessages(EveryKind()))};
  for (const Message& message : EveryKind()) all.push_back(Flat(EncodeMessages({&message, 1})));
  for (const std::string& intact : all) {
    ASSERT_TRUE(Decode(intact).ok());
    for (size_t bit = 0; bit < intact.size() * 8; ++bit) {
      std::string bytes = intact;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      EXPECT_FALSE(Decode(bytes).ok()) << "bit " << bit << " of " << intact.size() * 8;
    }
  }
  for (const std::string& answer : {Flat(EncodeAnswer(hello)), Flat(EncodeAnswer(Receipt{7}))}) {
    for (size_t bit = 0; bit < answer.size() * 8; ++bit) {
      std::string bytes = answer;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      const grpc::Slice slice(bytes);
      grpc::ByteBuffer buffer(&slice, 1);
      EXPECT_FALSE(DecodeAnswer(&buffer).ok()) << "bit " << bit;
    }
  }
}

TEST(WireCodec, CutMessagesAreRefused) {
  const std::string intact = Flat(EncodeMessages(EveryKind()));
  for (size_t size = 0; size < intact.size(); ++size) {
    EXPECT_FALSE(Decode(intact.substr(0, size)).ok()) << size << " of " << intact.size();
  }
}

}  // namespace
}  // namespace skein
