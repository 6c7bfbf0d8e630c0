// How the writes of one batch of a pipeline become entries: together, but no entry outgrows what
// the nodes send each other in one message.
#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "tests/server/node_fixture.h"

namespace skein {
namespace {

constexpr uint64_t kEntryBytes = 1 << 20;

class PipelineBatchTest : public ThreeNodesTest {
 protected:
  // Adds a put to the batch; its id is its place.
  static void Add(v1::PipelineRequest* batch, const std::string& key, const std::string& value,
                  v1::AckLevel ack = v1::QUORUM) {
    v1::Request* request = batch->add_requests();
    request->set_id(static_cast<uint64_t>(batch->requests_size()));
    *request->mutable_put() = PutOf(key, value, ack);
  }
  // The revisions of a batch of puts, in the order of the batch.
  std::vector<uint64_t> Send(const v1::PipelineRequest& batch) {
    grpc::ClientContext context;
    RawNode::Prepare(&context, kCallTimeout);
    const auto stream = leader().kv().Pipeline(&context);
    EXPECT_TRUE(stream->Write(batch));
    std::map<uint64_t, uint64_t> revisions;
    v1::PipelineResponse response;
    while (static_cast<int>(revisions.size()) < batch.requests_size() && stream->Read(&response)) {
      for (const v1::Response& one : response.responses()) {
        EXPECT_TRUE(one.has_put()) << one.error().message();
        EXPECT_TRUE(revisions.emplace(one.id(), one.put().revision()).second) << "answered twice";
      }
    }
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
    std::vector<uint64_t> in_order;
    for (const auto& [id, revision] : revisions) in_order.push_back(revision);
    return in_order;
  }
  // The leader's entries of revisions above `after`; not those that have none, as of members.
  std::vector<v1::StageTimes> EntriesAfter(uint64_t after) {
    grpc::ClientContext context;
    RawNode::Prepare(&context, kCallTimeout);
    v1::TraceRequest request;
    request.set_after_revision(after);
    v1::TraceResponse response;
    const auto stub = v1::Cluster::NewStub(leader().channel());
    EXPECT_TRUE(stub->Trace(&context, request, &response).ok());
    std::vector<v1::StageTimes> entries(response.entries().begin(), response.entries().end());
    std::erase_if(entries, [](const v1::StageTimes& entry) {
      return entry.last_revision() < entry.first_revision();
    });
    return entries;
  }
};

TEST_F(PipelineBatchTest, ALargeBatchIsSplitAtAMebibyte) {
  constexpr int kPuts = 20;
  const std::string value(300 << 10, 'v');
  v1::PipelineRequest batch;
  for (int i = 0; i < kPuts; ++i) Add(&batch, "k" + std::to_string(i), value);
  Add(&batch, "k0", "newer");
  const std::vector<uint64_t> revisions = Send(batch);
  ASSERT_EQ(revisions.size(), static_cast<size_t>(kPuts) + 1);
  // As if they had come one after the other.
  for (size_t i = 1; i < revisions.size(); ++i) EXPECT_EQ(revisions[i], revisions[i - 1] + 1);
  const std::vector<v1::StageTimes> entries = EntriesAfter(revisions.front() - 1);
  // Four values to an entry, the last of which may cross the limit; then the short one.
  EXPECT_EQ(entries.size(), 6u);
  for (const v1::StageTimes& entry : entries) {
    EXPECT_LE(entry.bytes(), kEntryBytes + value.size() + 1000);
  }
  for (int node = 0; node < nodes_.size(); ++node) {
    v1::GetResponse got;
    ASSERT_TRUE(nodes_.raw(node).Get(GetOf("k0", v1::AT_LEAST, revisions.back()), &got).ok());
    EXPECT_EQ(got.value(), "newer");
    ASSERT_TRUE(nodes_.raw(node).Get(GetOf("k19", v1::ANY), &got).ok());
    EXPECT_EQ(got.value(), value);
  }
}

TEST_F(PipelineBatchTest, ASmallBatchIsOneEntryPerKindOfWrite) {
  v1::PipelineRequest batch;
  for (int i = 0; i < 500; ++i) {
    Add(&batch, "k" + std::to_string(i), "v", i % 2 == 0 ? v1::QUORUM : v1::ALL);
  }
  const std::vector<uint64_t> revisions = Send(batch);
  ASSERT_EQ(revisions.size(), 500u);
  const uint64_t first = *std::min_element(revisions.begin(), revisions.end());
  EXPECT_LE(EntriesAfter(first - 1).size(), 2u);
}

}  // namespace
}  // namespace skein
