// Sends a unary write that reached a follower on to the leader, one hop (R34).
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "common/mutex.h"
#include "skein/v1/kv.grpc.pb.h"

namespace skein {

// Thread-safe. Calls end within ten seconds, whatever happens.
class LeaderForwarder {
 public:
  // Set on a forwarded call, so that it is not forwarded again.
  static constexpr char kForwardedKey[] = "skein-forwarded";

  // `done` is called once, on a thread of gRPC. A call whose fate was not seen is UNKNOWN.
  void Put(const std::string& leader_address, const v1::PutRequest& request,
           v1::PutResponse* response, std::function<void(grpc::Status)> done);
  void Delete(const std::string& leader_address, const v1::DeleteRequest& request,
              v1::DeleteResponse* response, std::function<void(grpc::Status)> done);

 private:
  std::shared_ptr<v1::Kv::Stub> StubFor(const std::string& address);

  Mutex mu_;
  std::string address_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<v1::Kv::Stub> stub_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein
