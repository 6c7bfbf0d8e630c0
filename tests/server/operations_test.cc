// What three nodes answer, addressed one by one with the generated stubs.
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "common/mutex.h"
#include "tests/server/node_fixture.h"

namespace skein {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

class OperationsTest : public ThreeNodesTest {
 protected:
  uint64_t MustPut(const std::string& key, const std::string& value,
                   v1::AckLevel ack = v1::QUORUM) {
    v1::PutResponse response;
    const grpc::Status status = leader().Put(PutOf(key, value, ack), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.revision();
  }
  static v1::DeleteResponse MustDelete(RawNode* node, const std::string& key) {
    v1::DeleteRequest request;
    request.set_key(key);
    v1::DeleteResponse response;
    const grpc::Status status = node->Delete(request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
};

TEST_F(OperationsTest, AFollowerForwardsWrites) {
  v1::PutResponse put;
  grpc::Status status = follower().Put(PutOf("k", "v"), &put);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(put.node().node_id(), LocalNodes::Name(leader_));
  EXPECT_EQ(put.reached(), v1::QUORUM);
  v1::GetResponse got;
  ASSERT_TRUE(follower().Get(GetOf("k", v1::AT_LEAST, put.revision()), &got).ok());
  EXPECT_EQ(got.value(), "v");
  EXPECT_EQ(got.version(), put.revision());
  EXPECT_TRUE(MustDelete(&follower(1), "k").deleted());
  EXPECT_FALSE(MustDelete(&follower(1), "k").deleted());
}

// A pipeline speaks with one node only: its writes are not forwarded, the refusal names the leader.
TEST_F(OperationsTest, APipelineOnAFollowerNamesTheLeader) {
  grpc::ClientContext context;
  RawNode::Prepare(&context, kCallTimeout);
  const auto stream = follower().kv().Pipeline(&context);
  v1::PipelineResponse response;
  ASSERT_TRUE(stream->Read(&response));
  v1::PipelineRequest batch;
  v1::Request* request = batch.add_requests();
  request->set_id(7);
  *request->mutable_put() = PutOf("k", "v");
  ASSERT_TRUE(stream->Write(batch));
  ASSERT_TRUE(stream->Read(&response));
  ASSERT_EQ(response.responses_size(), 1);
  const v1::Error& error = response.responses(0).error();
  EXPECT_EQ(error.code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(error.detail().reason(), v1::NOT_LEADER);
  EXPECT_EQ(error.detail().leader_id(), LocalNodes::Name(leader_));
  EXPECT_EQ(error.detail().leader_address(), nodes_.Address(leader_));
  EXPECT_GT(error.detail().term(), 0U);
  EXPECT_FALSE(error.detail().maybe_applied());
  EXPECT_EQ(response.node().node_id(), LocalNodes::Name(followers_[0]));
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(OperationsTest, DeletesSayWhetherTheKeyExisted) {
  const uint64_t put = MustPut("k", "v");
  const v1::DeleteResponse first = MustDelete(&leader(), "k");
  EXPECT_TRUE(first.deleted());
  EXPECT_EQ(first.revision(), put + 1);
  EXPECT_EQ(first.reached(), v1::QUORUM);
  const v1::DeleteResponse second = MustDelete(&leader(), "k");
  EXPECT_FALSE(second.deleted());
  EXPECT_EQ(second.revision(), put + 2);
  v1::GetResponse got;
  ASSERT_TRUE(follower().Get(GetOf("k", v1::AT_LEAST, second.revision()), &got).ok());
  EXPECT_FALSE(got.found());
  EXPECT_EQ(got.version(), 0U);
}

TEST_F(OperationsTest, AcknowledgementLevels) {
  for (const auto& [ack, reached] :
       std::vector<std::pair<v1::AckLevel, v1::AckLevel>>{{v1::LEADER, v1::LEADER},
                                                          {v1::QUORUM, v1::QUORUM},
                                                          {v1::ACK_LEVEL_UNSPECIFIED, v1::QUORUM},
                                                          {v1::ALL, v1::ALL}}) {
    v1::PutResponse put;
    const grpc::Status status = leader().Put(PutOf("k", "v", ack), &put);
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_GE(put.reached(), reached) << v1::AckLevel_Name(ack);
    EXPECT_GT(put.revision(), 0U);
  }
  // What is acknowledged by all is there for any read of any node.
  for (int i = 0; i < 50; ++i) {
    const std::string value = std::to_string(i);
    MustPut("all", value, v1::ALL);
    for (int node = 0; node < nodes_.size(); ++node) {
      v1::GetResponse got;
      ASSERT_TRUE(nodes_.raw(node).Get(GetOf("all", v1::ANY), &got).ok());
      ASSERT_EQ(got.value(), value) << LocalNodes::Name(node);
    }
  }
}

TEST_F(OperationsTest, AllFallsBackToAQuorumAfterTheWait) {
  MustPut("k", "v", v1::ALL);
  nodes_.Stop(followers_[0]);
  const auto began = steady_clock::now();
  v1::PutResponse put;
  const grpc::Status status = leader().Put(PutOf("k", "v2", v1::ALL, 300), &put);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(put.reached(), v1::QUORUM);
  const auto took = steady_clock::now() - began;
  EXPECT_GE(took, milliseconds(300));
  EXPECT_LT(took, seconds(5));
  nodes_.Start(followers_[0]);
  ASSERT_TRUE(leader().Put(PutOf("k", "v3", v1::ALL, 20'000), &put).ok());
  EXPECT_EQ(put.reached(), v1::ALL);
}

TEST_F(OperationsTest, LinearizableReadsOnEveryNodeSeeEveryWrite) {
  for (int i = 0; i < 100; ++i) {
    const std::string value = std::to_string(i);
    MustPut("k", value);
    for (int node = 0; node < nodes_.size(); ++node) {
      v1::GetResponse got;
      const grpc::Status status = nodes_.raw(node).Get(GetOf("k", v1::LINEARIZABLE), &got);
      ASSERT_TRUE(status.ok()) << status.error_message();
      ASSERT_EQ(got.value(), value) << LocalNodes::Name(node);
      ASSERT_EQ(got.node().node_id(), LocalNodes::Name(node));
    }
  }
}

TEST_F(OperationsTest, BoundedReads) {
  MustPut("k", "v", v1::ALL);
  v1::GetRequest request = GetOf("k", v1::BOUNDED);
  request.mutable_read()->set_max_staleness_ms(2000);
  for (int node = 0; node < nodes_.size(); ++node) {
    v1::GetResponse got;
    EXPECT_TRUE(WaitUntil(seconds(30), [&] { return nodes_.raw(node).Get(request, &got).ok(); }));
    EXPECT_EQ(got.value(), "v");
    EXPECT_GE(got.node().staleness_ms(), 0);
    EXPECT_LE(got.node().staleness_ms(), 2000);
  }
  // Cut off from the leader, a follower soon cannot prove it any more, and says so.
  // The other one goes first, or the two could elect a new leader.
  nodes_.Stop(followers_[1]);
  nodes_.StopAtOnce(leader_);
  request.mutable_read()->set_max_staleness_ms(200);
  grpc::Status status;
  EXPECT_TRUE(WaitUntil(seconds(30), [&] {
    v1::GetResponse got;
    status = follower().Get(request, &got);
    return !status.ok();
  }));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  EXPECT_EQ(DetailIn(status).reason(), v1::STALE);
  v1::GetResponse got;
  EXPECT_TRUE(follower().Get(GetOf("k", v1::ANY), &got).ok());
  EXPECT_EQ(got.value(), "v");
}

TEST_F(OperationsTest, AReadBeyondTheLastRevisionWaitsAndSaysHowFarTheNodeIs) {
  const uint64_t revision = MustPut("k", "v", v1::ALL);
  v1::GetRequest request = GetOf("k", v1::AT_LEAST, revision + 1000);
  request.mutable_read()->set_wait_ms(200);
  const auto began = steady_clock::now();
  v1::GetResponse got;
  const grpc::Status status = follower().Get(request, &got);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED) << status.error_message();
  EXPECT_EQ(DetailIn(status).reason(), v1::BEHIND);
  EXPECT_EQ(DetailIn(status).applied_revision(), revision);
  EXPECT_GE(steady_clock::now() - began, milliseconds(200));
  EXPECT_LT(steady_clock::now() - began, seconds(10));
}

TEST_F(OperationsTest, BatchGetAnswersInTheOrderAsked) {
  const uint64_t a = MustPut("a", "1");
  const uint64_t b = MustPut("b", "2");
  v1::BatchGetRequest request;
  for (const char* key : {"b", "none", "a", "b"}) request.add_keys(key);
  request.mutable_read()->set_consistency(v1::LINEARIZABLE);
  v1::BatchGetResponse response;
  ASSERT_TRUE(follower().BatchGet(request, &response).ok());
  ASSERT_EQ(response.results_size(), 4);
  EXPECT_EQ(response.results(0).value(), "2");
  EXPECT_EQ(response.results(0).version(), b);
  EXPECT_FALSE(response.results(1).found());
  EXPECT_EQ(response.results(2).version(), a);
  EXPECT_EQ(response.results(3).value(), "2");
  EXPECT_EQ(response.node().node_id(), LocalNodes::Name(followers_[0]));
}

class ScanTest : public OperationsTest {
 protected:
  static v1::ScanRequest Prefix(const std::string& prefix) {
    v1::ScanRequest request;
    request.set_prefix(prefix);
    return request;
  }
  static v1::ScanRequest Range(const std::string& start, const std::string& end) {
    v1::ScanRequest request;
    request.set_start(start);
    request.set_end(end);
    return request;
  }
  // The keys that a linearizable scan of a follower sends, joined.
  std::string Keys(v1::ScanRequest request) {
    request.mutable_read()->set_consistency(v1::LINEARIZABLE);
    const RawScan scan = follower().Scan(request);
    EXPECT_TRUE(scan.status.ok()) << scan.status.error_message();
    EXPECT_EQ(scan.count, scan.items.size());
    std::string keys;
    for (const v1::KeyValue& item : scan.items) keys += (keys.empty() ? "" : " ") + item.key();
    return keys;
  }
};

TEST_F(ScanTest, RangesOrdersAndLimits) {
  for (const char* key : {"b", "a/2", "a/10", "a", "a/1", "c"})
    MustPut(key, std::string("v") + key);
  EXPECT_EQ(Keys({}), "a a/1 a/10 a/2 b c");
  EXPECT_EQ(Keys(Prefix("a/")), "a/1 a/10 a/2");
  EXPECT_EQ(Keys(Range("a/1", "b")), "a/1 a/10 a/2");
  EXPECT_EQ(Keys(Range("a/10", "")), "a/10 a/2 b c");
  EXPECT_EQ(Keys(Range("", "a/1")), "a");
  EXPECT_EQ(Keys(Range("b", "b")), "");
  EXPECT_EQ(Keys(Prefix("none")), "");
  v1::ScanRequest reverse = Prefix("a/");
  reverse.set_reverse(true);
  EXPECT_EQ(Keys(reverse), "a/2 a/10 a/1");
  reverse.set_limit(2);
  EXPECT_EQ(Keys(reverse), "a/2 a/10");
  v1::ScanRequest limited = Range("a/1", "c");
  limited.set_limit(2);
  EXPECT_EQ(Keys(limited), "a/1 a/10");
  limited.set_reverse(true);
  EXPECT_EQ(Keys(limited), "b a/2");
  limited.set_limit(100);
  EXPECT_EQ(Keys(limited), "b a/2 a/10 a/1");
}

TEST_F(ScanTest, ValuesVersionsKeysOnlyAndCounts) {
  const uint64_t first = MustPut("k/1", "one");
  const uint64_t second = MustPut("k/2", "two");
  v1::ScanRequest request = Prefix("k/");
  request.mutable_read()->set_at_least_revision(second);
  RawScan scan = follower().Scan(request);
  ASSERT_TRUE(scan.status.ok()) << scan.status.error_message();
  ASSERT_EQ(scan.items.size(), 2U);
  EXPECT_EQ(scan.items[0].value(), "one");
  EXPECT_EQ(scan.items[0].version(), first);
  EXPECT_EQ(scan.items[1].value(), "two");
  EXPECT_EQ(scan.items[1].version(), second);
  request.set_keys_only(true);
  scan = follower().Scan(request);
  ASSERT_EQ(scan.items.size(), 2U);
  EXPECT_EQ(scan.items[1].key(), "k/2");
  EXPECT_EQ(scan.items[1].value(), "");
  EXPECT_EQ(scan.items[1].version(), second);
  request.set_keys_only(false);
  request.set_count_only(true);
  scan = follower().Scan(request);
  ASSERT_TRUE(scan.status.ok());
  EXPECT_TRUE(scan.items.empty());
  EXPECT_EQ(scan.count, 2U);
}

TEST_F(ScanTest, KeysOfAllBytes) {
  const std::string zero("\0", 1);
  const std::string high("\xff\xff");
  MustPut(zero, "zero");
  MustPut(high, "high");
  MustPut(high + "a", "after");
  MustPut("m", "middle");
  EXPECT_EQ(Keys({}), zero + " m " + high + " " + high + "a");
  EXPECT_EQ(Keys(Prefix(high)), high + " " + high + "a");
  EXPECT_EQ(Keys(Prefix(zero)), zero);
  v1::ScanRequest reverse;
  reverse.set_reverse(true);
  EXPECT_EQ(Keys(reverse), high + "a " + high + " m " + zero);
}

// A writer goes round over all keys; a snapshot shows at most one place where a round changes to
// the one before.
TEST_F(ScanTest, AScanWhileWritingSeesOneSnapshot) {
  constexpr int kKeys = 200;
  const std::string filler(16'384, '.');
  std::atomic<int> writes{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int round = 1; !stop; ++round) {
      for (int i = 0; i < kKeys && !stop; ++i) {
        MustPut("s/" + std::to_string(1000 + i), std::to_string(round) + filler);
        ++writes;
      }
    }
  });
  WaitUntil(seconds(60), [&] { return writes >= 2 * kKeys; });
  for (int repeat = 0; repeat < 3; ++repeat) {
    grpc::ClientContext context;
    RawNode::Prepare(&context, kCallTimeout);
    const auto reader = follower().kv().Scan(&context, Prefix("s/"));
    v1::ScanResponse response;
    std::vector<int> rounds;
    while (reader->Read(&response)) {
      if (rounds.empty()) {
        // Whatever the node reads only now must still be of the first moment.
        const int before = writes;
        WaitUntil(seconds(30), [&] { return writes >= before + kKeys; });
      }
      for (const v1::KeyValue& item : response.items()) rounds.push_back(std::stoi(item.value()));
    }
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(rounds.size(), static_cast<size_t>(kKeys));
    EXPECT_TRUE(std::is_sorted(rounds.rbegin(), rounds.rend())) << "newer values behind older ones";
    EXPECT_LE(rounds.front() - rounds.back(), 1) << "two rounds in one snapshot";
  }
  stop = true;
  writer.join();
}

using Bytes = grpc::ByteBuffer;

Bytes BytesOf(const std::string& text) {
  const grpc::Slice slice(text);
  return Bytes(&slice, 1);
}
std::string TextOf(const Bytes& bytes) {
  std::vector<grpc::Slice> slices;
  if (!bytes.Dump(&slices).ok()) return "";
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

TEST_F(OperationsTest, TheHealthServiceSaysServing) {
  for (const std::string service : {"", "skein.v1.Kv"}) {
    grpc::TemplatedGenericStub<Bytes, Bytes> stub(follower().channel());
    grpc::ClientContext context;
    RawNode::Prepare(&context, kCallTimeout);
    const Bytes request = BytesOf(
        service.empty() ? ""
                        : "\x0a" + std::string(1, static_cast<char>(service.size())) + service);
    Bytes response;
    grpc::Status status;
    Notification done;
    stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request,
                   &response, [&](grpc::Status answer) {
                     status = std::move(answer);
                     done.Notify();
                   });
    done.Wait();
    EXPECT_TRUE(status.ok()) << service << ": " << status.error_message();
    EXPECT_EQ(TextOf(response), "\x08\x01") << service << ": not SERVING";
  }
}

TEST_F(OperationsTest, ReflectionListsTheServices) {
  grpc::GenericStub stub(follower().channel());
  grpc::CompletionQueue queue;
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  grpc::ClientContext context;
  RawNode::Prepare(&context, kCallTimeout);
  const auto call = stub.PrepareCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  call->StartCall(nullptr);
  ASSERT_TRUE(wait());
  call->Write(BytesOf(std::string("\x3a\x01*", 3)), nullptr);  // list_services
  ASSERT_TRUE(wait());
  Bytes response;
  call->Read(&response, nullptr);
  ASSERT_TRUE(wait());
  const std::string text = TextOf(response);
  for (const char* service : {"skein.v1.Kv", "skein.v1.Cluster", "grpc.health.v1.Health"}) {
    EXPECT_NE(text.find(service), std::string::npos) << service;
  }
  call->WritesDone(nullptr);
  ASSERT_TRUE(wait());
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  EXPECT_TRUE(status.ok()) << status.error_message();
  queue.Shutdown();
}

}  // namespace
}  // namespace skein
