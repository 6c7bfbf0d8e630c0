// Takes directories that nobody needs any more out of the way at once, and gives their space back
// slowly, on a thread of its own: unlinking big files stalls file systems that are mounted with
// discard. They lie in `<data>/trash` meanwhile.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "storage/options.h"

namespace skein {

// Thread-safe. What cannot be removed, or not before the end, is removed after the next start.
class Trash {
 public:
  // Begins with what was left the last time.
  static absl::StatusOr<std::unique_ptr<Trash>> Open(const StorageOptions& options,
                                                     const std::string& data_directory);
  ~Trash();
  Trash(const Trash&) = delete;
  Trash& operator=(const Trash&) = delete;

  // The file or directory has lost its name, durably, when this returns. Fine if it is not there.
  // On failure it may have or not.
  absl::Status Discard(const std::string& path);

 private:
  Trash(const StorageOptions& options, std::string directory);

  void Run();
  // False: told to stop.
  bool Remove(const std::string& path);
  bool PauseAfter(uint64_t bytes);

  rocksdb::Env* const env_;
  const std::string directory_;
  const uint64_t bytes_per_second_;

  Mutex mu_;
  CondVar work_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_name_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<std::string> waiting_ ABSL_GUARDED_BY(mu_);  // paths

  std::thread thread_;
};

}  // namespace skein
