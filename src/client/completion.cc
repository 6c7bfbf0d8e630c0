#include "client/completion.h"

#include <utility>

#include "client/codec.h"

namespace skein::client {

void Complete(std::unique_ptr<Operation> operation, v1::Response* response,
              const v1::NodeState& node, absl::FunctionRef<void(uint64_t)> raise_token) {
  const auto mismatch = [&operation] {
    Fail(std::move(operation),
         absl::InternalError("the node answered another kind of request than was asked"));
  };
  if (auto* get = std::get_if<1>(&operation->done)) {
    if (response->result_case() != v1::Response::kGet) return mismatch();
    GetResult result;
    result.by = DecodeNode(node);
    if (response->get().found()) {
      v1::GetResponse* found = response->mutable_get();
      result.item =
          KeyValue{std::move(operation->key), std::move(*found->mutable_value()), found->version()};
    }
    raise_token(node.applied_revision());
    (*get)(std::move(result));
  } else if (auto* batch_get = std::get_if<2>(&operation->done)) {
    if (response->result_case() != v1::Response::kBatchGet) return mismatch();
    BatchGetResult result = DecodeBatchGet(operation->body, response->mutable_batch_get());
    result.by = DecodeNode(node);
    raise_token(node.applied_revision());
    (*batch_get)(std::move(result));
  } else if (auto* put = std::get_if<3>(&operation->done)) {
    if (response->result_case() != v1::Response::kPut) return mismatch();
    raise_token(response->put().revision());
    (*put)(PutResult{response->put().revision(), DecodeAck(response->put().reached())});
  } else if (auto* erase = std::get_if<4>(&operation->done)) {
    if (response->result_case() != v1::Response::kDelete) return mismatch();
    const v1::DeleteResponse& answer = response->delete_();
    raise_token(answer.revision());
    (*erase)(DeleteResult{answer.revision(), answer.deleted(), DecodeAck(answer.reached())});
  }
}

void Fail(std::unique_ptr<Operation> operation, const absl::Status& status) {
  if (auto* get = std::get_if<1>(&operation->done)) {
    (*get)(status);
  } else if (auto* batch_get = std::get_if<2>(&operation->done)) {
    (*batch_get)(status);
  } else if (auto* put = std::get_if<3>(&operation->done)) {
    (*put)(status);
  } else if (auto* erase = std::get_if<4>(&operation->done)) {
    (*erase)(status);
  }
}

}  // namespace skein::client
