// What is not the protocol at all: bytes on the port that mean nothing, frames that end too early,
// connections that vanish. The node goes on serving everybody else.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "tests/server/node_fixture.h"

namespace skein {
namespace {

// A connection as it is, without gRPC.
class Socket {
 public:
  explicit Socket(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
  }
  ~Socket() { ::close(fd_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  bool connected() const { return connected_; }
  // The other side may have closed meanwhile.
  void Send(const std::string& bytes) {
    (void)!::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  // A reset instead of an orderly end.
  void Abort() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }
  // What comes back until the other side is silent or closes.
  std::string Receive(std::chrono::milliseconds patience) {
    std::string bytes;
    char buffer[4096];
    pollfd readable{fd_, POLLIN, 0};
    while (::poll(&readable, 1, static_cast<int>(patience.count())) > 0) {
      const ssize_t got = ::recv(fd_, buffer, sizeof(buffer), 0);
      if (got <= 0) break;
      bytes.append(buffer, static_cast<size_t>(got));
    }
    return bytes;
  }

 private:
  const int fd_;
  bool connected_ = false;
};

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload,
                  size_t stated_length) {
  std::string frame;
  for (const int shift : {16, 8, 0}) frame += static_cast<char>(stated_length >> shift);
  frame += static_cast<char>(type);
  frame += static_cast<char>(flags);
  for (const int shift : {24, 16, 8, 0}) frame += static_cast<char>(stream >> shift);
  return frame + payload;
}

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  return Frame(type, flags, stream, payload, payload.size());
}

// A header without compression.
std::string Header(const std::string& name, const std::string& value) {
  return std::string(1, '\0') + static_cast<char>(name.size()) + name +
         static_cast<char>(value.size()) + value;
}

// The beginning of a call, as a client sends it.
std::string StartOfCall(const std::string& method) {
  return kPreface + Frame(4, 0, 0, "") +
         Frame(1, 4, 1,
               Header(":method", "POST") + Header(":scheme", "http") +
                   Header(":path", "/skein.v1.Kv/" + method) + Header(":authority", "localhost") +
                   Header("te", "trailers") + Header("content-type", "application/grpc"));
}

std::string GrpcMessage(const std::string& body, size_t stated_length) {
  std::string message(1, '\0');
  for (const int shift : {24, 16, 8, 0}) message += static_cast<char>(stated_length >> shift);
  return message + body;
}

class GarbageTest : public OneNodeTest {};

TEST_F(GarbageTest, BytesWithoutMeaning) {
  std::mt19937_64 random(42);
  for (int round = 0; round < 50; ++round) {
    std::string bytes(1 + random() % 4000, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (round % 2 == 1) bytes = kPreface + bytes;
    Socket socket(nodes_.port(0));
    ASSERT_TRUE(socket.connected());
    socket.Send(bytes);
    if (round % 3 == 0) socket.Abort();
  }
  Socket http(nodes_.port(0));
  http.Send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  http.Receive(std::chrono::milliseconds(200));
  ExpectServes();
}

TEST_F(GarbageTest, FramesThatEndTooEarly) {
  v1::PutRequest put = PutOf("k", std::string(1000, 'v'));
  const std::string body = put.SerializeAsString();
  const std::string whole = GrpcMessage(body, body.size());
  const std::string start = StartOfCall("Put");
  const std::vector<std::string> attempts = {
      start,                                                       // no message at all
      start + Frame(0, 1, 1, ""),                                  // ended without a message
      start + Frame(0, 1, 1, whole.substr(0, 3)),                  // in the message's head
      start + Frame(0, 1, 1, whole.substr(0, 500)),                // in the message
      start + Frame(0, 0, 1, whole.substr(0, 500), whole.size()),  // in the frame
      start + Frame(0, 1, 1, GrpcMessage(body, 0xffffffff)),       // states an absurd length
      start + Frame(0, 1, 1, GrpcMessage("\xff\xff\xff\xff", 4)),  // not a message of ours
      StartOfCall("NoSuchMethod") + Frame(0, 1, 1, whole),
      StartOfCall("Pipeline") + Frame(0, 0, 1, whole.substr(0, 500)),
      StartOfCall("Scan") + Frame(0, 1, 1, GrpcMessage("\x0a\x7f", 2)),
  };
  for (const std::string& attempt : attempts) {
    Socket socket(nodes_.port(0));
    ASSERT_TRUE(socket.connected());
    socket.Send(attempt);
    socket.Receive(std::chrono::milliseconds(100));
  }
  v1::GetResponse got;
  ASSERT_TRUE(node().Get(GetOf("k", v1::LINEARIZABLE), &got).ok());
  EXPECT_FALSE(got.found()) << "a truncated put took effect";
  ExpectServes();
}

// The frames of this test are right: the same call, complete, is answered.
TEST_F(GarbageTest, AWholeCallByHandIsAnswered) {
  const std::string body = PutOf("by hand", "v").SerializeAsString();
  Socket socket(nodes_.port(0));
  socket.Send(StartOfCall("Put") + Frame(0, 1, 1, GrpcMessage(body, body.size())));
  socket.Receive(std::chrono::milliseconds(500));
  v1::GetResponse got;
  ASSERT_TRUE(node().Get(GetOf("by hand", v1::LINEARIZABLE), &got).ok());
  EXPECT_EQ(got.value(), "v");
}

TEST_F(GarbageTest, PipelinesThatVanish) {
  v1::PipelineRequest batch;
  for (uint64_t i = 0; i < 500; ++i) {
    v1::Request* request = batch.add_requests();
    request->set_id(i);
    if (i % 2 == 0) {
      *request->mutable_put() = PutOf("k" + std::to_string(i), std::string(200, 'v'));
    } else {
      *request->mutable_get() = GetOf("k", v1::LINEARIZABLE);
    }
  }
  const std::string body = batch.SerializeAsString();
  const std::string whole = GrpcMessage(body, body.size());
  for (int round = 0; round < 40; ++round) {
    Socket socket(nodes_.port(0));
    ASSERT_TRUE(socket.connected());
    std::string bytes = StartOfCall("Pipeline");
    for (size_t at = 0; at < whole.size(); at += 16'384) {
      bytes += Frame(0, 0, 1, whole.substr(at, 16'384));
    }
    // Half of them in the middle of the message, half when the answers are due.
    if (round % 2 == 0) bytes.resize(bytes.size() / 2);
    socket.Send(bytes);
    if (round % 4 < 2) socket.Abort();
  }
  ExpectServes();
}

// Streams that are cancelled while their answers are under way.
TEST_F(GarbageTest, CancelledStreams) {
  for (int round = 0; round < 100; ++round) {
    grpc::ClientContext context;
    RawNode::Prepare(&context, kCallTimeout);
    const auto stream = node().kv().Pipeline(&context);
    v1::PipelineRequest batch;
    for (uint64_t i = 0; i < 100; ++i) {
      v1::Request* request = batch.add_requests();
      request->set_id(i);
      *request->mutable_put() = PutOf("k" + std::to_string(i), "v");
    }
    ASSERT_TRUE(stream->Write(batch));
    v1::PipelineResponse response;
    if (round % 3 > 0) ASSERT_TRUE(stream->Read(&response));  // the node has taken the stream
    if (round % 3 > 1) ASSERT_TRUE(stream->Read(&response));
    context.TryCancel();
    stream->Finish();
  }
  ExpectServes();
}

TEST_F(GarbageTest, ScansThatNobodyReads) {
  for (int i = 0; i < 64; ++i) {
    v1::PutResponse put;
    ASSERT_TRUE(
        node().Put(PutOf("big/" + std::to_string(i), std::string(100'000, 'v')), &put).ok());
  }
  v1::ScanRequest request;
  request.set_prefix("big/");
  for (int round = 0; round < 20; ++round) {
    grpc::ClientContext context;
    RawNode::Prepare(&context, kCallTimeout);
    const auto reader = node().kv().Scan(&context, request);
    v1::ScanResponse response;
    if (round % 2 == 0) {
      EXPECT_TRUE(reader->Read(&response));
    }
    context.TryCancel();
    reader->Finish();
  }
  const RawScan scan = node().Scan(request);
  EXPECT_TRUE(scan.status.ok()) << scan.status.error_message();
  EXPECT_EQ(scan.items.size(), 64U);
}

}  // namespace
}  // namespace skein
