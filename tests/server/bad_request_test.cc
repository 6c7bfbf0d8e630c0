// Requests that are wrong: each is answered with the field, its size and the limit, changes
// nothing, and leaves the node as it was.
#include <gtest/gtest.h>

#include "tests/server/node_fixture.h"

namespace skein {
namespace {

constexpr size_t kKeyMax = 64 << 10;
constexpr size_t kValueMax = 32 << 20;

void ExpectInvalid(const grpc::Status& status, const std::vector<std::string>& words) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << status.error_message();
  const v1::ErrorDetail detail = DetailIn(status);
  EXPECT_EQ(detail.reason(), v1::INVALID_FIELD) << status.error_message();
  EXPECT_FALSE(detail.maybe_applied());
  for (const std::string& word : words) {
    EXPECT_NE(status.error_message().find(word), std::string::npos)
        << "expected '" << word << "' in: " << status.error_message();
  }
}

class BadRequestTest : public OneNodeTest {
 protected:
  grpc::Status Put(const v1::PutRequest& request) {
    v1::PutResponse response;
    return node().Put(request, &response);
  }
  grpc::Status Get(const v1::GetRequest& request) {
    v1::GetResponse response;
    return node().Get(request, &response);
  }
  grpc::Status Delete(const std::string& key, int ack = v1::QUORUM) {
    v1::DeleteRequest request;
    request.set_key(key);
    request.mutable_write()->set_ack(static_cast<v1::AckLevel>(ack));
    v1::DeleteResponse response;
    return node().Delete(request, &response);
  }
  uint64_t Revision() {
    v1::StatusResponse status;
    EXPECT_TRUE(node().Status(&status).ok());
    return status.commit_revision();
  }
};

TEST_F(BadRequestTest, Keys) {
  const uint64_t before = Revision();
  const std::string too_long(kKeyMax + 1, 'k');
  for (const auto& [key, words] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"", {"key", "empty"}}, {too_long, {"key", "65537", "65536"}}}) {
    ExpectInvalid(Put(PutOf(key, "v")), words);
    ExpectInvalid(Get(GetOf(key, v1::ANY)), words);
    ExpectInvalid(Delete(key), words);
    v1::BatchGetRequest batch;
    batch.add_keys("good");
    batch.add_keys(key);
    v1::BatchGetResponse batch_response;
    ExpectInvalid(node().BatchGet(batch, &batch_response), words);
  }
  EXPECT_EQ(Revision(), before);
  const std::string longest(kKeyMax, 'k');
  EXPECT_TRUE(Put(PutOf(longest, "v")).ok());
  v1::GetResponse got;
  EXPECT_TRUE(node().Get(GetOf(longest, v1::LINEARIZABLE), &got).ok());
  EXPECT_EQ(got.value(), "v");
  ExpectServes();
}

TEST_F(BadRequestTest, Values) {
  const uint64_t before = Revision();
  ExpectInvalid(Put(PutOf("k", std::string(kValueMax + 1, 'v'))),
                {"value", "33554433", "33554432"});
  EXPECT_EQ(Revision(), before);
  std::string largest(kValueMax, 'v');
  for (size_t i = 0; i < largest.size(); i += 4096) largest[i] = static_cast<char>(i >> 12);
  const grpc::Status put = Put(PutOf("k", largest));
  ASSERT_TRUE(put.ok()) << put.error_message();
  v1::GetResponse got;
  v1::GetRequest get = GetOf("k", v1::LINEARIZABLE);
  get.mutable_read()->set_wait_ms(20'000);  // until so much is applied
  const grpc::Status status = node().Get(get, &got);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(got.value() == largest);
  EXPECT_TRUE(Put(PutOf("empty", "")).ok());
  ASSERT_TRUE(node().Get(GetOf("empty", v1::LINEARIZABLE), &got).ok());
  EXPECT_TRUE(got.found());
  EXPECT_EQ(got.value(), "");
}

// Larger than any message may be: gRPC refuses it before the service sees it.
TEST_F(BadRequestTest, AMessageBeyondAllLimits) {
  const grpc::Status status = Put(PutOf("k", std::string(100 << 20, 'v')));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  ExpectServes();
}

TEST_F(BadRequestTest, UnknownEnumValues) {
  const uint64_t before = Revision();
  const auto wrong_ack = static_cast<v1::AckLevel>(77);
  const auto wrong_consistency = static_cast<v1::Consistency>(99);
  ExpectInvalid(Put(PutOf("k", "v", wrong_ack)), {"ack", "77"});
  ExpectInvalid(Put(PutOf("k", "v", static_cast<v1::AckLevel>(-1))), {"ack", "-1"});
  ExpectInvalid(Delete("k", 77), {"ack", "77"});
  ExpectInvalid(Get(GetOf("k", wrong_consistency)), {"consistency", "99"});
  v1::BatchGetRequest batch;
  batch.add_keys("k");
  batch.mutable_read()->set_consistency(wrong_consistency);
  v1::BatchGetResponse batch_response;
  ExpectInvalid(node().BatchGet(batch, &batch_response), {"consistency", "99"});
  v1::ScanRequest scan;
  scan.mutable_read()->set_consistency(wrong_consistency);
  ExpectInvalid(node().Scan(scan).status, {"consistency", "99"});
  EXPECT_EQ(Revision(), before);
  ExpectServes();
}

TEST_F(BadRequestTest, BatchesAndRanges) {
  v1::BatchGetRequest batch;
  for (int i = 0; i < 1024; ++i) batch.add_keys("k" + std::to_string(i));
  v1::BatchGetResponse batch_response;
  EXPECT_TRUE(node().BatchGet(batch, &batch_response).ok());
  EXPECT_EQ(batch_response.results_size(), 1024);
  batch.add_keys("one more");
  ExpectInvalid(node().BatchGet(batch, &batch_response), {"keys", "1025", "1024"});

  v1::ScanRequest inverted;
  inverted.set_start("b");
  inverted.set_end("a");
  ExpectInvalid(node().Scan(inverted).status, {"start", "end"});
  v1::ScanRequest both;
  both.set_prefix("p");
  both.set_start("p1");
  ExpectInvalid(node().Scan(both).status, {"prefix", "start"});
  v1::ScanRequest prefix_and_end;
  prefix_and_end.set_prefix("p");
  prefix_and_end.set_end("p1");
  ExpectInvalid(node().Scan(prefix_and_end).status, {"prefix", "end"});
  v1::ScanRequest long_prefix;
  long_prefix.set_prefix(std::string(kKeyMax + 1, 'p'));
  ExpectInvalid(node().Scan(long_prefix).status, {"65537", "65536"});
  ExpectServes();
}

class BadPipelineTest : public OneNodeTest {
 protected:
  // What is wrong must not disturb its neighbours: answers by request id.
  std::map<uint64_t, v1::Response> Exchange(const v1::PipelineRequest& batch) {
    grpc::ClientContext context;
    RawNode::Prepare(&context, kCallTimeout);
    const auto stream = node().kv().Pipeline(&context);
    std::map<uint64_t, v1::Response> answers;
    v1::PipelineResponse response;
    EXPECT_TRUE(stream->Read(&response));  // before anything is asked
    EXPECT_EQ(response.responses_size(), 0);
    EXPECT_EQ(response.node().node_id(), "n1");
    EXPECT_TRUE(stream->Write(batch));
    while (answers.size() < static_cast<size_t>(batch.requests_size()) && stream->Read(&response)) {
      for (const v1::Response& answer : response.responses()) answers[answer.id()] = answer;
    }
    // The stream lives on.
    v1::PipelineRequest last;
    v1::Request* get = last.add_requests();
    get->set_id(1000);
    *get->mutable_get() = GetOf("k", v1::LINEARIZABLE);
    EXPECT_TRUE(stream->Write(last));
    EXPECT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.responses(0).id(), 1000U);
    EXPECT_TRUE(response.responses(0).has_get());
    stream->WritesDone();
    EXPECT_FALSE(stream->Read(&response));
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return answers;
  }
};

TEST_F(BadPipelineTest, WrongRequestsAmongGoodOnes) {
  v1::PipelineRequest batch;
  const auto add = [&batch] {
    v1::Request* request = batch.add_requests();
    request->set_id(static_cast<uint64_t>(batch.requests_size()));
    return request;
  };
  add();  // 1: no operation
  *add()->mutable_put() = PutOf("", "v");
  *add()->mutable_put() = PutOf("k", "v");  // 3: good
  *add()->mutable_put() = PutOf("k", "v", static_cast<v1::AckLevel>(9));
  *add()->mutable_get() = GetOf("k", static_cast<v1::Consistency>(9));
  *add()->mutable_get() = GetOf("other", v1::ANY);  // 6: good
  add()->mutable_delete_()->set_key("");
  // 8: an operation of a later version, as an unknown field.
  v1::Request* later = add();
  later->GetReflection()->MutableUnknownFields(later)->AddLengthDelimited(200, "later");
  v1::BatchGetRequest* long_batch = add()->mutable_batch_get();  // 9
  for (int i = 0; i < 1025; ++i) long_batch->add_keys("k");
  const auto answers = Exchange(batch);
  ASSERT_EQ(answers.size(), 9U);
  for (const auto& [id, answer] : answers) {
    if (id == 3) {
      EXPECT_GT(answer.put().revision(), 0U) << answer.ShortDebugString();
    } else if (id == 6) {
      EXPECT_TRUE(answer.has_get()) << answer.ShortDebugString();
    } else {
      EXPECT_EQ(answer.error().code(), grpc::StatusCode::INVALID_ARGUMENT)
          << id << ": " << answer.ShortDebugString();
      EXPECT_EQ(answer.error().detail().reason(), v1::INVALID_FIELD) << id;
      EXPECT_FALSE(answer.error().message().empty()) << id;
    }
  }
}

TEST_F(BadPipelineTest, AnEmptyBatchIsNoHarm) {
  EXPECT_TRUE(Exchange(v1::PipelineRequest()).empty());
}

}  // namespace
}  // namespace skein
