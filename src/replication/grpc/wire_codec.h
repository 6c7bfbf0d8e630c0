// The wire form of what nodes say to each other: proto/skein/v1/replication.proto.
// Pure functions, callable from any thread.
//
// Invariants:
//  1. Encoding shares the frames of entries that are not small with the log; it does not copy them.
//  2. What decodes is well formed: both ends are named, entries have valid checksums, continue each
//     other and the position and chain hash that the message states before them.
//  3. No byte that changed on the way gets past: everything has a checksum at its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "replication/core/message.h"
#include "replication/grpc/hello.h"

namespace grpc {
class ByteBuffer;
}

namespace skein {

// What peers accept of one PeerEnvelope, in bytes.
inline constexpr size_t kPeerMessageBytesMax = 64u << 20;

// How both ends of a connection between peers cut and gather what they send.
inline constexpr int kHttp2FrameBytes = 1 << 20;
inline constexpr int kHttp2WriteBufferBytes = 256 << 10;

// About what the message takes in an envelope; never less than it does.
size_t WireBytes(const Message& message);

// A PeerEnvelope.
grpc::ByteBuffer EncodeMessages(std::span<const Message> messages);
grpc::ByteBuffer EncodeHello(const Hello& hello);
// Asks for the receipt of all that was sent before on the same stream.
struct ReceiptWanted {
  uint64_t number = 0;
};
grpc::ByteBuffer EncodeReceiptWanted(ReceiptWanted wanted);
using Envelope = std::variant<Hello, std::vector<Message>, ReceiptWanted>;
// Takes the bytes. kInvalidArgument, or kDataLoss if they were damaged, if they are malformed.
absl::StatusOr<Envelope> DecodeEnvelope(grpc::ByteBuffer* bytes);

// A PeerAnswer: what comes back on a stream.
struct Receipt {
  uint64_t number = 0;
};
grpc::ByteBuffer EncodeAnswer(const Hello& hello);
grpc::ByteBuffer EncodeAnswer(Receipt receipt);
using Answer = std::variant<Hello, Receipt>;
// As DecodeEnvelope.
absl::StatusOr<Answer> DecodeAnswer(grpc::ByteBuffer* bytes);

}  // namespace skein
