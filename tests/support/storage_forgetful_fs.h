// A file system below RocksDB that can lose what was not synced, as a loss of power does, and whose
// syncs can be made to fail.
//
// On Crash() every file written through it is cut to its synced length, files whose directory was
// not synced since they were made disappear, and from then on every change fails. Reopen what is
// left with a new ForgetfulFs. Renames and deletions count as durable at once. Thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"

namespace skein {

class ForgetfulFs final : public rocksdb::FileSystemWrapper {
 public:
  ForgetfulFs() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}

  // Keeps up to so many unsynced bytes of each file: a torn tail. Once only.
  void Crash(size_t unsynced_bytes_kept = 0);
  // Syncs of files whose name ends so fail from now on; empty: none.
  void FailSyncsOf(const std::string& suffix);
  // How many syncs of files succeeded.
  uint64_t syncs() const;

  const char* Name() const override { return "ForgetfulFs"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

  // For the files and directories that it hands out.
  rocksdb::IOStatus Alive(const std::string& name) const;
  rocksdb::IOStatus MaySync(const std::string& name) const;
  void Wrote(const std::string& name, uint64_t size);
  // Fails if the crash came first: then the sync has not happened.
  rocksdb::IOStatus Synced(const std::string& name, uint64_t size);
  void SyncedDirectory(const std::string& directory);

 private:
  struct FileState {
    uint64_t size = 0;
    uint64_t synced = 0;
    bool linked = false;  // its directory was synced
  };

  mutable absl::Mutex mu_;
  bool crashed_ ABSL_GUARDED_BY(mu_) = false;
  std::string failing_suffix_ ABSL_GUARDED_BY(mu_);
  uint64_t syncs_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, FileState> files_ ABSL_GUARDED_BY(mu_);
};

// An Env over it, to be put into StorageOptions.
std::unique_ptr<rocksdb::Env> NewEnvOver(const std::shared_ptr<ForgetfulFs>& fs);

}  // namespace skein
