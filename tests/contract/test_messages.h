// Messages that can be told apart: their term is a number of their own, and what else is in them
// follows from it.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <array>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "replication/core/message.h"
#include "replication/grpc/wire_codec.h"

namespace skein {

// What a message is of: a kind of body, and so many bytes where it has room for them.
struct MessageShape {
  size_t body = 0;  // index into MessageBody
  bool bulk = false;
  size_t bytes = 0;
};

inline constexpr MessageShape kBulkMessage{.body = 0, .bulk = true, .bytes = 100};
inline constexpr MessageShape kOtherMessage{.body = 2};

// Each kind of body, with entries and without.
inline std::vector<MessageShape> EveryShape() {
  std::vector<MessageShape> shapes = {kBulkMessage, {.body = 0, .bulk = true, .bytes = 20'000}};
  for (size_t body = 0; body < std::variant_size_v<MessageBody>; ++body) {
    shapes.push_back({.body = body, .bytes = 30});
  }
  return shapes;
}

class MessageFiller {
 public:
  MessageFiller(uint64_t serial, const MessageShape& shape) : serial_(serial), shape_(shape) {}

  MessageBody Body() {
    return Bodies(std::make_index_sequence<std::variant_size_v<MessageBody>>());
  }

 private:
  template <size_t... kBody>
  MessageBody Bodies(std::index_sequence<kBody...>) {
    MessageBody body;
    (void)((shape_.body == kBody && (Fill(&body.emplace<kBody>()), true)) || ...);
    return body;
  }
  uint64_t Next() { return serial_ * 100 + ++fields_; }
  bool Flag() { return (serial_ >> fields_++ & 1) != 0; }

  void Fill(AppendMessage* m) {
    m->previous = {Term(serial_), Index(Next())};
    m->previous_chain = Next();
    m->commit = Index(Next());
    if (!shape_.bulk) return;
    LogPoint last{.at = m->previous, .chain = m->previous_chain, .revision = Revision(Next())};
    for (int i = 0; i < 2; ++i) {
      m->entries.push_back(Entry::Build(last, last.at.term, EntryType::kCommands, 1, Next(),
                                        std::string(shape_.bytes, 'a' + serial_ % 26)));
      last = m->entries.back()->point();
    }
  }
  void Fill(AppendAck* m) {
    *m = {.rejected = Flag(),
          .match = Index(Next()),
          .applied = Index(Next()),
          .previous_index = Index(Next()),
          .last = {.at = {Term(Next()), Index(Next())}, .chain = Next()},
          .commit = Index(Next())};
  }
  void Fill(HeartbeatMessage* m) {
    *m = {.round = Next(),
          .commit = Index(Next()),
          .trim = Index(Next()),
          .fresh_stamp_us = Next(),
          .fresh_index = Index(Next())};
  }
  void Fill(HeartbeatAck* m) {
    *m = {.round = Next(), .stamp_us = Next(), .applied = Index(Next()), .match = Index(Next())};
  }
  void Fill(VoteMessage* m) {
    *m = {.pre = Flag(), .transfer = Flag(), .last = {Term(Next()), Index(Next())}};
  }
  void Fill(VoteAck* m) {
    *m = {.pre = Flag(), .granted = Flag(), .refusal = std::string(shape_.bytes, 'r')};
  }
  void Fill(ReadIndexMessage* m) { m->id = Next(); }
  void Fill(ReadIndexAck* m) { *m = {.id = Next(), .granted = Flag(), .index = Index(Next())}; }
  void Fill(TimeoutNowMessage*) {}
  void Fill(SnapshotOffer* m) {
    *m = {.id = Next(),
          .source = NodeId(Next()),
          .source_address = std::string(shape_.bytes, 'a'),
          .at_least = Index(Next())};
  }
  void Fill(SnapshotReport* m) {
    *m = {.id = Next(),
          .phase = Flag() ? SnapshotPhase::kFetching : SnapshotPhase::kFailed,
          .index = Index(Next()),
          .bytes_done = Next(),
          .bytes_total = Next(),
          .error = std::string(shape_.bytes, 'e')};
  }

  const uint64_t serial_;
  const MessageShape shape_;
  uint64_t fields_ = 0;
};

inline Message MakeMessage(uint64_t serial, const MessageShape& shape, NodeId from, NodeId to) {
  return {from, to, Term(serial), MessageFiller(serial, shape).Body()};
}
inline uint64_t SerialOf(const Message& message) { return message.term.value(); }

// All of a message, as bytes that are equal only for equal messages.
inline std::string BytesOf(const Message& message) {
  std::vector<grpc::Slice> slices;
  const bool dumped = EncodeMessages({&message, 1}).Dump(&slices).ok();
  std::string bytes(dumped ? "" : "cannot be encoded");
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace skein
