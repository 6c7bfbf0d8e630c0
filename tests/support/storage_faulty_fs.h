// A file system below RocksDB that has the faults of a disk: it loses power, fails or hangs in a
// sync, runs full, cannot be read, and forgets single bits. Put its Env into StorageOptions.
//
// Patterns are those of fnmatch(3) over the whole path, where `*` also matches slashes:
// `*/log/*.log` is the write-ahead log of the log, `*` is everything, and an empty one nothing.
//
// Thread-safe. Invariants:
//  1. What a successful sync covered survives Crash; what none covered goes, but for a torn tail.
//  2. After Crash or Kill every change fails. Reopen what is left with a new FaultyFs.
//  3. Renames and deletions are durable at once, and with a rename all that came before it in its
//     directory: a file system's journal keeps their order.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>

#include "absl/base/thread_annotations.h"
#include "common/mutex.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "tests/support/storage_faults.h"

namespace skein {

class FaultyFs final : public rocksdb::FileSystemWrapper {
 public:
  FaultyFs() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}

  // Loss of power: of what was not synced, each file keeps a torn tail at most. A file whose
  // directory was not synced since it was made disappears. Hanging syncs fail.
  void Crash(const TornTail& tail = {});
  // Loses power instead of the change with this number, counted from 1 over the whole life.
  void CrashAtChange(uint64_t number, const TornTail& tail = {});
  // The end of the process alone, as by kill -9: what was written stays.
  void Kill();
  // Appends, syncs, truncations, creations, links, renames and deletions so far, those of
  // directories and failed ones included.
  uint64_t changes() const;
  bool crashed() const;

  // From now on syncs take no time: they protect from Crash alone, not from a real loss of power.
  void OmitRealSyncs() { omits_real_syncs_ = true; }
  void FailSyncsOf(const std::string& pattern);
  // They hang until the pattern changes, or until the crash.
  void HangSyncsOf(const std::string& pattern);
  // How many syncs hang at the moment; how many have succeeded so far.
  int hanging() const;
  uint64_t syncs() const;

  // So many bytes can still be appended, and what is deleted comes back; nullopt: as the real disk.
  // An append that does not fit writes what does.
  void SetFreeBytes(std::optional<uint64_t> bytes);
  std::optional<uint64_t> free_bytes() const;

  void FailReadsOf(const std::string& pattern);
  // Reads see one bit of the byte at `offset` changed; the file itself is sound.
  void FlipBitInReadsOf(const std::string& pattern, uint64_t offset);

  const char* Name() const override { return "FaultyFs"; }
  rocksdb::IOStatus NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewRandomAccessFile(const std::string& name,
                                        const rocksdb::FileOptions& options,
                                        std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                        rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* file,
                                    rocksdb::IODebugContext* debug) override;
  // RocksDB calls neither with our options; nothing is to be written past the faults.
  rocksdb::IOStatus ReopenWritableFile(const std::string&, const rocksdb::FileOptions&,
                                       std::unique_ptr<rocksdb::FSWritableFile>*,
                                       rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::NotSupported("ReopenWritableFile");
  }
  rocksdb::IOStatus ReuseWritableFile(const std::string&, const std::string&,
                                      const rocksdb::FileOptions&,
                                      std::unique_ptr<rocksdb::FSWritableFile>*,
                                      rocksdb::IODebugContext*) override {
    return rocksdb::IOStatus::NotSupported("ReuseWritableFile");
  }
  rocksdb::IOStatus NewDirectory(const std::string& name, const rocksdb::IOOptions& options,
                                 std::unique_ptr<rocksdb::FSDirectory>* directory,
                                 rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& from, const std::string& to,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus LinkFile(const std::string& from, const std::string& to,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDir(const std::string& name, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus CreateDirIfMissing(const std::string& name, const rocksdb::IOOptions& options,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteDir(const std::string& name, const rocksdb::IOOptions& options,
                              rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus GetFreeSpace(const std::string& path, const rocksdb::IOOptions& options,
                                 uint64_t* bytes, rocksdb::IODebugContext* debug) override;

 private:
  class WritableFile;
  class Directory;
  class SequentialFile;
  class RandomAccessFile;

  struct FileState {
    uint64_t size = 0;
    uint64_t synced = 0;
    bool linked = false;  // its directory was synced
  };

  // Performs a change of the disk, unless the power is off; none is under way during a crash.
  rocksdb::IOStatus Change(const std::string& name,
                           const std::function<rocksdb::IOStatus()>& change);
  // A change that may hang or fail as syncs do.
  rocksdb::IOStatus Sync(const std::string& name, const std::function<rocksdb::IOStatus()>& sync);
  rocksdb::IOStatus Append(const std::string& name, const rocksdb::Slice& data,
                           const std::function<rocksdb::IOStatus(const rocksdb::Slice&)>& append);
  rocksdb::IOStatus MayRead(const std::string& name) const;
  // Damages what was read from `offset` on, if it is to be; the result is in `scratch` then.
  void Damage(const std::string& name, uint64_t offset, rocksdb::Slice* read, char* scratch) const;
  void PowerOff(const std::function<void(const std::string& name, const FileState& file)>& lose);
  rocksdb::IOStatus PowerIsOff(const std::string& name) const;
  void LinkFilesOf(const std::string& directory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void GiveBack(uint64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::atomic<bool> omits_real_syncs_{false};
  std::shared_mutex disk_mu_;  // shared by changes, alone for a crash; taken before mu_
  mutable Mutex mu_;
  CondVar syncs_released_;
  bool crashed_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t changes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t crash_at_change_ ABSL_GUARDED_BY(mu_) = 0;
  TornTail crash_tail_ ABSL_GUARDED_BY(mu_);
  std::string failing_syncs_ ABSL_GUARDED_BY(mu_);
  std::string hanging_syncs_ ABSL_GUARDED_BY(mu_);
  int hanging_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t syncs_ ABSL_GUARDED_BY(mu_) = 0;
  std::optional<uint64_t> free_bytes_ ABSL_GUARDED_BY(mu_);
  std::string failing_reads_ ABSL_GUARDED_BY(mu_);
  std::string damaged_reads_ ABSL_GUARDED_BY(mu_);
  uint64_t damaged_offset_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<std::string, FileState> files_ ABSL_GUARDED_BY(mu_);
};

// An Env over it, to be put into StorageOptions.
std::unique_ptr<rocksdb::Env> NewEnvOver(const std::shared_ptr<FaultyFs>& fs);

}  // namespace skein
