#include "server/leader_forwarder.h"

#include <chrono>
#include <utility>

#include "common/error.h"
#include "server/proto_error.h"

namespace skein {
namespace {

constexpr std::chrono::seconds kForwardTimeout{10};

// A transport failure says nothing about whether the leader took the write.
grpc::Status Outcome(const grpc::Status& status) {
  if (status.ok() || !status.error_details().empty()) return status;
  return ToGrpcStatus(MakeError(absl::StatusCode::kUnknown,
                                "forwarded to the leader, no answer: " + status.error_message(),
                                {.reason = ErrorReason::kOutcomeUnknown,
                                 .maybe_applied = true,
                                 .hint = "read the key to see whether the write took effect"}));
}

struct Forwarded {
  grpc::ClientContext context;
  std::shared_ptr<v1::Kv::Stub> stub;
  std::function<void(grpc::Status)> done;
};

template <typename Request, typename Response, typename Start>
void Forward(std::shared_ptr<v1::Kv::Stub> stub, const Request& request, Response* response,
             std::function<void(grpc::Status)> done, Start start) {
  auto call = std::make_shared<Forwarded>();
  call->context.AddMetadata(LeaderForwarder::kForwardedKey, "1");
  call->context.set_deadline(std::chrono::system_clock::now() + kForwardTimeout);
  call->stub = std::move(stub);
  call->done = std::move(done);
  start(call->stub->async(), &call->context, &request, response,
        [call](grpc::Status status) { call->done(Outcome(status)); });
}

}  // namespace

std::shared_ptr<v1::Kv::Stub> LeaderForwarder::StubFor(const std::string& address) {
  MutexLock lock(&mu_);
  if (address != address_ || stub_ == nullptr) {
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    args.SetMaxReceiveMessageSize(-1);
    address_ = address;
    stub_ = v1::Kv::NewStub(
        grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args));
  }
  return stub_;
}

void LeaderForwarder::Put(const std::string& leader_address, const v1::PutRequest& request,
                          v1::PutResponse* response, std::function<void(grpc::Status)> done) {
  Forward(StubFor(leader_address), request, response, std::move(done),
          [](auto* async, auto&&... args) { async->Put(std::forward<decltype(args)>(args)...); });
}

void LeaderForwarder::Delete(const std::string& leader_address, const v1::DeleteRequest& request,
                             v1::DeleteResponse* response, std::function<void(grpc::Status)> done) {
  Forward(
      StubFor(leader_address), request, response, std::move(done),
      [](auto* async, auto&&... args) { async->Delete(std::forward<decltype(args)>(args)...); });
}

}  // namespace skein
