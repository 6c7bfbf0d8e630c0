// Snapshots from node to node over real connections, which break, and real disks.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <memory>
#include <thread>

#include "common/mutex.h"
#include "replication/grpc/wire_codec.h"
#include "server/snapshot_client.h"
#include "server/snapshot_service.h"
#include "tests/storage/snapshot_fixture.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/process_cluster.h"
#include "tests/support/wait.h"

namespace skein {
namespace {

constexpr std::chrono::seconds kPatience{20};

PeerIdentity IdentityOf(const std::string& name) {
  return {.cluster_id = 7, .node = NodeIdOf(name), .name = name, .incarnation = 1};
}

class SnapshotTransferTest : public SnapshotTest {
 protected:
  void SetUp() override {
    FillSource();
    source_gate_.SetMemberships(Of({"n1", "n2"}));
    target_gate_.SetMemberships(Of({"n1", "n2"}));
  }
  void TearDown() override {
    client_.reset();
    StopServing();
  }

  void Serve(const SnapshotLimits& limits = {}) {
    service_ = std::make_unique<SnapshotService>(limits, source_.snapshots.get(),
                                                 source_.state.get(), &source_gate_, nullptr);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    port_ = port;
  }
  void StopServing() {
    if (service_ != nullptr) service_->Stop();
    if (server_ != nullptr) server_->Shutdown();
    server_.reset();
    service_.reset();
  }
  void StartClient(const std::map<std::string, std::string>& own_addresses = {}) {
    client_ = std::make_unique<SnapshotClient>(&target_gate_, target_.incoming(),
                                               target_.events.get(), own_addresses);
  }

  uint64_t Fetch(int port, Index at_least = Index(1)) {
    if (client_ == nullptr) StartClient();
    client_->Fetch({++fetches_, NodeIdOf("n1"), "127.0.0.1:" + std::to_string(port), at_least});
    return fetches_;
  }
  absl::StatusOr<LogBase> Await(uint64_t id) {
    const auto of = [id](const std::vector<Event>& all) -> const SnapshotFetched* {
      for (const Event& event : all) {
        const auto* fetched = std::get_if<SnapshotFetched>(&event);
        if (fetched != nullptr && fetched->id == id) return fetched;
      }
      return nullptr;
    };
    EXPECT_TRUE(target_.events->WaitUntil(
        [&](const std::vector<Event>& all) { return of(all) != nullptr; }));
    const std::vector<Event> all = target_.events->events();
    const SnapshotFetched* fetched = of(all);
    return fetched == nullptr ? absl::DeadlineExceededError("nothing came") : fetched->base;
  }
  void ExpectTheSameState(const absl::StatusOr<LogBase>& base) {
    ASSERT_TRUE(base.ok()) << base.status();
    EXPECT_EQ(base->point, entries_.back()->point());
    const auto installed = target_.Install(*base);
    ASSERT_TRUE(installed.ok()) << installed.status();
    EXPECT_EQ(target_.Digest(), source_.Digest());
  }

  static MembershipsInForce Of(const std::vector<std::string>& names) {
    const MembershipAt at{Index(1), MembersNamed(names)};
    return {at, at};
  }

  struct Receiver;
  struct RawReceiver;

  HelloGate source_gate_{IdentityOf("n1"), "127.0.0.1:1", nullptr};
  HelloGate target_gate_{IdentityOf("n2"), "127.0.0.1:2", nullptr};
  std::unique_ptr<SnapshotService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<SnapshotClient> client_;
  int port_ = 0;
  uint64_t fetches_ = 0;
};

TEST_F(SnapshotTransferTest, BringsTheWholeState) {
  Serve();
  ExpectTheSameState(Await(Fetch(port_)));
  const auto told = target_.events->All<SnapshotFetching>();
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told.back().id, 1u);
  // The source keeps nothing of it for long.
  service_->Stop();
  StopServing();
  EXPECT_TRUE(source_.BecomesEmpty("snapshots"));
}

TEST_F(SnapshotTransferTest, ComesFromWhereThisNodeReachesTheSource) {
  Serve();
  FaultProxy proxy;
  const FreePort port;
  const int link = proxy.AddLink(port.number(), port_);
  const FreePort nobody;
  StartClient({{"n1", "127.0.0.1:" + std::to_string(port.number())}, {"n3", "127.0.0.1:1"}});
  ExpectTheSameState(Await(Fetch(nobody.number())));
  EXPECT_EQ(proxy.Stats(link).accepted, 1u);
}

// The other end of a stream, message by message.
struct SnapshotTransferTest::RawReceiver {
  explicit RawReceiver(int port)
      : stub(v1::Snapshots::NewStub(grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                                        grpc::InsecureChannelCredentials()))),
        stream(stub->Fetch(&context)) {}

  void Ask(const HelloGate& gate, bool tells_taken) {
    v1::FetchRequest request;
    grpc::Slice hello;
    ASSERT_TRUE(EncodeHello(gate.HelloTo(NodeIdOf("n1"))).DumpToSingleSlice(&hello).ok());
    request.set_hello(hello.begin(), hello.size());
    request.set_at_least_index(1);
    request.set_tells_taken(tells_taken);
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
    ASSERT_TRUE(response.has_manifest());
    EXPECT_TRUE(response.hears_taken());
    total = DecodeSnapshotManifest(response.manifest())->TotalBytes();
  }
  bool Read() {
    if (!stream->Read(&response)) return false;
    received += response.part().bytes().size();
    return true;
  }
  void TellTaken() {
    v1::FetchRequest receipt;
    receipt.set_taken(received);
    stream->Write(receipt);
  }

  grpc::ClientContext context;
  std::unique_ptr<v1::Snapshots::Stub> stub;
  std::unique_ptr<grpc::ClientReaderWriter<v1::FetchRequest, v1::FetchResponse>> stream;
  v1::FetchResponse response;
  uint64_t total = 0;
  uint64_t received = 0;
};

TEST_F(SnapshotTransferTest, ASourceWaitsUntilWhatItHasSentIsTaken) {
  constexpr uint64_t kUntakenBytesMax = 50'000;
  Serve({.untaken_bytes_max = kUntakenBytesMax});
  RawReceiver receiver(port_);
  ASSERT_NO_FATAL_FAILURE(receiver.Ask(target_gate_, /*tells_taken=*/true));
  while (receiver.received <= kUntakenBytesMax) ASSERT_TRUE(receiver.Read());
  ASSERT_LT(receiver.received, receiver.total);
  Notification more;
  std::thread reader([&] {
    EXPECT_TRUE(receiver.Read());
    more.Notify();
  });
  EXPECT_FALSE(more.WaitFor(std::chrono::milliseconds(150)));
  receiver.TellTaken();
  EXPECT_TRUE(more.WaitFor(kPatience));
  reader.join();
  do receiver.TellTaken();
  while (receiver.Read());
  EXPECT_TRUE(receiver.stream->Finish().ok());
  EXPECT_EQ(receiver.received, receiver.total);
}

TEST_F(SnapshotTransferTest, AReceiverOfAnOlderReleaseIsNotWaitedFor) {
  Serve({.untaken_bytes_max = 50'000});
  RawReceiver receiver(port_);
  ASSERT_NO_FATAL_FAILURE(receiver.Ask(target_gate_, /*tells_taken=*/false));
  receiver.stream->WritesDone();
  while (receiver.Read()) continue;
  EXPECT_TRUE(receiver.stream->Finish().ok());
  EXPECT_EQ(receiver.received, receiver.total);
}

// Nor one that has asked, and takes nothing.
TEST_F(SnapshotTransferTest, AStreamThatAsksForNothingDoesNotHoldUpTheEnd) {
  Serve({.untaken_bytes_max = 1});
  RawReceiver waits(port_);
  ASSERT_NO_FATAL_FAILURE(waits.Ask(target_gate_, /*tells_taken=*/true));
  RawReceiver silent(port_);
  service_->Stop();
  EXPECT_EQ(silent.stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  while (waits.Read()) continue;
  EXPECT_EQ(waits.stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(SnapshotTransferTest, GoesOnAfterBrokenConnections) {
  // Slow enough that it takes several connections.
  Serve({.bytes_per_second = 200 << 10});
  FaultProxy proxy;
  const FreePort port;
  const int link = proxy.AddLink(port.number(), port_);
  const uint64_t id = Fetch(port.number());
  uint64_t broken_at = 0;
  for (int breaks = 0; breaks < 3; ++breaks) {
    ASSERT_TRUE(WaitUntil(kPatience, [&] {
      return target_.incoming()->bytes_done() > broken_at || target_.incoming()->complete();
    }));
    broken_at = target_.incoming()->bytes_done();
    proxy.Reset(link);
  }
  ExpectTheSameState(Await(id));
  EXPECT_GT(proxy.Stats(link).accepted, 1u);
}

// So low a limit that all of it would take minutes.
TEST_F(SnapshotTransferTest, IsSentSlowlyOnlyWhileThereAreWrites) {
  Serve({.bytes_per_second_beside_writes = 2 << 10});
  const std::vector<EntryPtr> newest = chain_.Puts(Term(1), 1, 10);
  source_.Apply(newest);
  const uint64_t id = Fetch(port_);
  const auto done = [this] { return target_.incoming()->bytes_done(); };
  ASSERT_TRUE(WaitUntil(kPatience, [&] { return done() > 0; }));
  // For longer than it remembers the first.
  const auto half = [&] { return done() > target_.incoming()->bytes_total() / 2; };
  for (int writes = 0; writes < 70; ++writes) {
    source_.Apply(chain_.Puts(Term(1), 1, 10));
    ASSERT_FALSE(WaitUntil(std::chrono::milliseconds(100), half));
  }
  const absl::StatusOr<LogBase> base = Await(id);
  ASSERT_TRUE(base.ok()) << base.status();
  EXPECT_EQ(base->point, newest.back()->point());
}

TEST_F(SnapshotTransferTest, ChangedBytesAreSentAgain) {
  Serve();
  FaultProxy proxy;
  const FreePort port;
  const int link = proxy.AddLink(port.number(), port_);
  proxy.Garble(link, Flow::kBackward, 500);
  ExpectTheSameState(Await(Fetch(port.number())));
  EXPECT_GT(proxy.Stats(link).garbled, 0u);
}

TEST_F(SnapshotTransferTest, ADamagedStateIsNotTaken) {
  ASSERT_TRUE(source_.state->Flush().ok());
  for (const auto& file : std::filesystem::directory_iterator(source_.File("state"))) {
    if (file.path().extension() == ".sst") FlipBitAt(file.path(), 0.3);
  }
  Serve();
  const auto base = Await(Fetch(port_));
  EXPECT_TRUE(absl::IsDataLoss(base.status())) << base.status();
  EXPECT_NE(MessageOf(base.status()).find(source_.File("snapshots")), std::string::npos)
      << "it is the source's file: " << base.status();
  EXPECT_EQ(target_.incoming()->complete(), std::nullopt);
}

TEST_F(SnapshotTransferTest, ARestartedReceiverGoesOn) {
  Serve({.bytes_per_second = 200 << 10});
  Fetch(port_);
  std::string first;
  ASSERT_TRUE(WaitUntil(kPatience, [&] {
    const auto wanted = target_.incoming()->Next();
    if (first.empty() && wanted) first = wanted->file;
    return wanted && wanted->file != first;
  }));
  const std::string snapshot = target_.incoming()->id();
  client_.reset();
  target_.Open();
  EXPECT_EQ(target_.incoming()->id(), snapshot);
  EXPECT_EQ(target_.incoming()->complete(), std::nullopt);
  EXPECT_GT(target_.incoming()->bytes_done(), 0u);
  EXPECT_NE(target_.incoming()->Next()->file, first);
  ExpectTheSameState(Await(Fetch(port_)));
  EXPECT_EQ(target_.incoming()->id(), "") << "installed";
}

TEST_F(SnapshotTransferTest, ALaterFetchTakesThePlaceOfTheOneBefore) {
  Serve({.bytes_per_second = 50 << 10});
  Fetch(port_);
  ASSERT_TRUE(WaitUntil(kPatience, [&] { return target_.incoming()->bytes_total() > 0; }));
  StopServing();
  Serve();
  ExpectTheSameState(Await(Fetch(port_)));
  for (const auto& fetched : target_.events->All<SnapshotFetched>()) {
    EXPECT_TRUE(fetched.id == 2u || !fetched.base.ok()) << "the one before was broken off";
  }
}

TEST_F(SnapshotTransferTest, StrangersAreRefused) {
  source_gate_.SetMemberships(Of({"n1", "n3"}));
  Serve();
  const auto base = Await(Fetch(port_));
  EXPECT_TRUE(absl::IsFailedPrecondition(base.status())) << base.status();
  EXPECT_TRUE(source_.IsEmpty("snapshots"));
}

// A node that fetches from the source, by a connection of its own.
struct SnapshotTransferTest::Receiver {
  Receiver(const std::string& name, int port) : gate(IdentityOf(name), "127.0.0.1:2", nullptr) {
    gate.SetMemberships(Of({"n1", "n2", "n3", "n4"}));
    node.Open();
    client = std::make_unique<SnapshotClient>(&gate, node.incoming(), node.events.get());
    client->Fetch({1, NodeIdOf("n1"), "127.0.0.1:" + std::to_string(port), Index(1)});
  }
  bool HasBegun() {
    return WaitUntil(kPatience, [this] { return node.incoming()->bytes_total() > 0; });
  }

  Node node;
  HelloGate gate;
  std::unique_ptr<SnapshotClient> client;
};

TEST_F(SnapshotTransferTest, OnlySoManyAtOnce) {
  source_gate_.SetMemberships(Of({"n1", "n2", "n3", "n4"}));
  Serve({.at_once_max = 2, .bytes_per_second = 20 << 10});
  Receiver first("n2", port_);
  Receiver second("n3", port_);
  EXPECT_TRUE(first.HasBegun());
  EXPECT_TRUE(second.HasBegun());
  Receiver third("n4", port_);
  ASSERT_TRUE(third.node.events->WaitUntil([](const std::vector<Event>& all) {
    return !EventLog::AllOf<SnapshotFetched>(all).empty();
  }));
  const auto base = third.node.events->All<SnapshotFetched>().back().base;
  EXPECT_TRUE(absl::IsResourceExhausted(base.status())) << base.status();
  EXPECT_TRUE(first.node.events->All<SnapshotFetched>().empty());
  EXPECT_TRUE(second.node.events->All<SnapshotFetched>().empty());
  StopServing();
}

// Its connection broke without the source hearing of it: it does not wait for its own turn to end.
TEST_F(SnapshotTransferTest, WhoAsksAgainTakesThePlaceOfItsOlderStream) {
  Serve({.at_once_max = 1, .bytes_per_second = 20 << 10});
  Receiver older("n2", port_);
  EXPECT_TRUE(older.HasBegun());
  Receiver newer("n2", port_);
  EXPECT_TRUE(newer.HasBegun());
  EXPECT_TRUE(newer.node.events->All<SnapshotFetched>().empty());
  StopServing();
}

TEST_F(SnapshotTransferTest, AStateThatIsNotSoFarIsNoSource) {
  Serve();
  const auto base = Await(Fetch(port_, entries_.back()->index().Next()));
  EXPECT_TRUE(absl::IsUnavailable(base.status())) << base.status();
}

TEST_F(SnapshotTransferTest, ASourceThatIsGoneIsTold) {
  const FreePort port;
  const auto base = Await(Fetch(port.number()));
  EXPECT_TRUE(absl::IsUnavailable(base.status())) << base.status();
}

TEST_F(SnapshotTransferTest, StopsAmidATransfer) {
  Serve({.bytes_per_second = 100 << 10});
  Fetch(port_);
  ASSERT_TRUE(WaitUntil(kPatience, [&] { return target_.incoming()->bytes_total() > 0; }));
  service_->Stop();
  client_.reset();
  EXPECT_TRUE(target_.events->All<SnapshotFetched>().empty() ||
              !target_.events->All<SnapshotFetched>().back().base.ok());
}

}  // namespace
}  // namespace skein
