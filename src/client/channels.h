// The gRPC channels of one client, one per address. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "skein/options.h"

namespace grpc {
class Channel;
}

namespace skein::client {

class ChannelPool {
 public:
  explicit ChannelPool(const ClientOptions& options) : options_(options) {}

  std::shared_ptr<grpc::Channel> Get(const std::string& address);

 private:
  const ClientOptions options_;
  Mutex mu_;
  std::map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mu_);
};

}  // namespace skein::client
