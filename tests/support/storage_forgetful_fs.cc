#include "tests/support/storage_forgetful_fs.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

namespace skein {
namespace {

using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

bool EndsWith(const std::string& text, const std::string& suffix) {
  return text.size() >= suffix.size() &&
         text.compare(text.size() - suffix.size(), suffix.size(), suffix) == 0;
}

std::string Normal(const std::string& path) {
  return std::filesystem::path(path).lexically_normal().string();
}

class ForgetfulFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  ForgetfulFile(ForgetfulFs* fs, std::string name, std::unique_ptr<rocksdb::FSWritableFile> target)
      : FSWritableFileOwnerWrapper(std::move(target)), fs_(fs), name_(std::move(name)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = fs_->Alive(name_);
    if (status.ok()) status = FSWritableFileOwnerWrapper::Append(data, options, debug);
    if (status.ok()) Grew(data.size());
    return status;
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*info*/, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = fs_->Alive(name_);
    if (status.ok()) status = FSWritableFileOwnerWrapper::Truncate(size, options, debug);
    if (status.ok()) {
      size_ = size;
      fs_->Wrote(name_, size_);
    }
    return status;
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return SyncWith(&FSWritableFile::Sync, options, debug);
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return SyncWith(&FSWritableFile::Fsync, options, debug);
  }

 private:
  void Grew(size_t bytes) {
    size_ += bytes;
    fs_->Wrote(name_, size_);
  }
  template <typename Method>
  IOStatus SyncWith(Method method, const IOOptions& options, IODebugContext* debug) {
    IOStatus status = fs_->MaySync(name_);
    const uint64_t size = size_;
    if (status.ok()) status = (target()->*method)(options, debug);
    return status.ok() ? fs_->Synced(name_, size) : status;
  }

  ForgetfulFs* const fs_;
  const std::string name_;
  uint64_t size_ = 0;
};

class ForgetfulDirectory final : public rocksdb::FSDirectoryWrapper {
 public:
  ForgetfulDirectory(ForgetfulFs* fs, std::string name,
                     std::unique_ptr<rocksdb::FSDirectory> target)
      : FSDirectoryWrapper(std::move(target)), fs_(fs), name_(std::move(name)) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Noted(FSDirectoryWrapper::Fsync(options, debug));
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& directory) override {
    return Noted(FSDirectoryWrapper::FsyncWithDirOptions(options, debug, directory));
  }

 private:
  IOStatus Noted(const IOStatus& status) {
    if (!status.ok()) return status;
    IOStatus alive = fs_->Alive(name_);
    if (alive.ok()) fs_->SyncedDirectory(name_);
    return alive;
  }

  ForgetfulFs* const fs_;
  const std::string name_;
};

}  // namespace

void ForgetfulFs::Crash(size_t unsynced_bytes_kept) {
  absl::MutexLock lock(&mu_);
  if (crashed_) return;
  crashed_ = true;
  for (const auto& [name, file] : files_) {
    std::error_code ignored;  // gone already
    if (!file.linked) {
      std::filesystem::remove(name, ignored);
    } else if (file.synced < file.size) {
      std::filesystem::resize_file(name, std::min(file.size, file.synced + unsynced_bytes_kept),
                                   ignored);
    }
  }
}

void ForgetfulFs::FailSyncsOf(const std::string& suffix) {
  absl::MutexLock lock(&mu_);
  failing_suffix_ = suffix;
}

uint64_t ForgetfulFs::syncs() const {
  absl::MutexLock lock(&mu_);
  return syncs_;
}

IOStatus ForgetfulFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* file,
                                      IODebugContext* debug) {
  IOStatus status = Alive(name);
  if (status.ok()) status = target()->NewWritableFile(name, options, file, debug);
  if (!status.ok()) return status;
  *file = std::make_unique<ForgetfulFile>(this, Normal(name), std::move(*file));
  absl::MutexLock lock(&mu_);
  files_[Normal(name)] = FileState{};
  return status;
}

IOStatus ForgetfulFs::NewDirectory(const std::string& name, const IOOptions& options,
                                   std::unique_ptr<rocksdb::FSDirectory>* directory,
                                   IODebugContext* debug) {
  const IOStatus status = target()->NewDirectory(name, options, directory, debug);
  if (status.ok()) {
    *directory = std::make_unique<ForgetfulDirectory>(this, Normal(name), std::move(*directory));
  }
  return status;
}

IOStatus ForgetfulFs::DeleteFile(const std::string& name, const IOOptions& options,
                                 IODebugContext* debug) {
  IOStatus status = Alive(name);
  if (status.ok()) status = target()->DeleteFile(name, options, debug);
  if (status.ok()) {
    absl::MutexLock lock(&mu_);
    files_.erase(Normal(name));
  }
  return status;
}

IOStatus ForgetfulFs::RenameFile(const std::string& from, const std::string& to,
                                 const IOOptions& options, IODebugContext* debug) {
  IOStatus status = Alive(from);
  if (status.ok()) status = target()->RenameFile(from, to, options, debug);
  if (!status.ok()) return status;
  absl::MutexLock lock(&mu_);
  const auto file = files_.find(Normal(from));
  if (file != files_.end()) {
    FileState state = file->second;
    state.linked = true;
    files_.erase(file);
    files_[Normal(to)] = state;
  }
  return status;
}

IOStatus ForgetfulFs::Alive(const std::string& name) const {
  absl::MutexLock lock(&mu_);
  return crashed_ ? IOStatus::IOError("power is off", name) : IOStatus::OK();
}

IOStatus ForgetfulFs::MaySync(const std::string& name) const {
  absl::MutexLock lock(&mu_);
  if (crashed_) return IOStatus::IOError("power is off", name);
  if (!failing_suffix_.empty() && EndsWith(name, failing_suffix_)) {
    return IOStatus::IOError("injected failure of a sync", name);
  }
  return IOStatus::OK();
}

void ForgetfulFs::Wrote(const std::string& name, uint64_t size) {
  absl::MutexLock lock(&mu_);
  const auto file = files_.find(name);
  if (file == files_.end()) return;
  file->second.size = size;
  file->second.synced = std::min(file->second.synced, size);
}

IOStatus ForgetfulFs::Synced(const std::string& name, uint64_t size) {
  absl::MutexLock lock(&mu_);
  if (crashed_) return IOStatus::IOError("power is off", name);
  const auto file = files_.find(name);
  if (file != files_.end()) file->second.synced = std::max(file->second.synced, size);
  ++syncs_;
  return IOStatus::OK();
}

void ForgetfulFs::SyncedDirectory(const std::string& directory) {
  absl::MutexLock lock(&mu_);
  for (auto& [name, file] : files_) {
    if (std::filesystem::path(name).parent_path() == std::filesystem::path(directory)) {
      file.linked = true;
    }
  }
}

std::unique_ptr<rocksdb::Env> NewEnvOver(const std::shared_ptr<ForgetfulFs>& fs) {
  return rocksdb::NewCompositeEnv(fs);
}

}  // namespace skein
