// One client's Scan: walks one snapshot of the state on a thread of its own, at the pace at which
// the client takes the items.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>

#include "common/mutex.h"
#include "server/kv_backend.h"
#include "skein/v1/kv.pb.h"

namespace skein {

class ScanStream final : public grpc::ServerWriteReactor<v1::ScanResponse> {
 public:
  // `ended` is called once nothing of the scan runs any more. Deletes itself.
  ScanStream(KvBackend* backend, const v1::ScanRequest& request, std::function<void()> ended);

  // Begins; the read's options were checked.
  void Start();
  // Ends at once.
  void Refuse(const absl::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  void Run();
  // Sends what is collected and waits until it is taken. False: the client is gone.
  bool Send();

  KvBackend* const backend_;
  const v1::ScanRequest request_;
  const std::function<void()> ended_;
  v1::ScanResponse response_;  // owned by the scanning thread, but for a write under way

  Mutex mu_;
  CondVar changed_;
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool broken_ ABSL_GUARDED_BY(mu_) = false;
  bool running_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace skein
