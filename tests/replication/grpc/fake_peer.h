// A node's wire side that opens streams as it should, and then does with them what the test says.
#pragma once

#include <fmt/format.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "common/checksum.h"
#include "skein/v1/replication.grpc.pb.h"
#include "tests/replication/grpc/peer_fixture.h"

namespace skein {

// Thread-safe.
class FakePeer final : private v1::Replication::Service {
 public:
  // Forms the answer to a wish for a receipt; false: none is sent. An answer without a checksum
  // gets the right one.
  using Reply = std::function<bool(uint64_t number, v1::PeerAnswer* answer)>;

  FakePeer(PeerIdentity identity, Reply reply)
      : identity_(std::move(identity)), reply_(std::move(reply)) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }

  ~FakePeer() override {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  PeerAddress address() const {
    return {identity_.node, identity_.name, fmt::format("127.0.0.1:{}", port_)};
  }
  uint64_t messages() const { return messages_; }
  uint64_t receipts_wanted() const { return receipts_wanted_; }

  // Takes everything and says nothing.
  static bool Swallow(uint64_t, v1::PeerAnswer*) { return false; }
  static bool GiveReceipt(uint64_t number, v1::PeerAnswer* answer) {
    answer->set_receipt(number);
    return true;
  }

 private:
  using Stream = grpc::ServerReaderWriter<v1::PeerAnswer, v1::PeerEnvelope>;

  static void Send(v1::PeerAnswer answer, Stream* stream) {
    if (answer.checksum() == 0) answer.set_checksum(Checksum64(answer.SerializeAsString()));
    stream->Write(answer);
  }

  grpc::Status Ship(grpc::ServerContext*, Stream* stream) override {
    v1::PeerEnvelope envelope;
    if (!stream->Read(&envelope) || !envelope.has_hello()) return grpc::Status::CANCELLED;
    v1::PeerAnswer answer;
    v1::PeerHello* hello = answer.mutable_hello();
    hello->set_cluster_id(identity_.cluster_id);
    hello->set_node_id(identity_.node.value());
    hello->set_node_name(identity_.name);
    hello->set_incarnation(identity_.incarnation);
    hello->set_protocol_version(identity_.protocol_version);
    hello->set_to_node_id(envelope.hello().node_id());
    Send(std::move(answer), stream);
    while (stream->Read(&envelope)) {
      messages_ += static_cast<uint64_t>(envelope.messages().messages_size());
      if (!envelope.has_receipt_wanted()) continue;
      ++receipts_wanted_;
      v1::PeerAnswer receipt;
      if (reply_(envelope.receipt_wanted(), &receipt)) Send(std::move(receipt), stream);
    }
    return grpc::Status::OK;
  }

  const PeerIdentity identity_;
  const Reply reply_;
  std::atomic<uint64_t> messages_{0};
  std::atomic<uint64_t> receipts_wanted_{0};
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace skein
