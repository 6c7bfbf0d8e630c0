#include "tests/support/storage_faulty_fs.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <mutex>
#include <random>
#include <system_error>

namespace skein {
namespace {

using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

bool Matches(const std::string& pattern, const std::string& path) {
  return !pattern.empty() && ::fnmatch(pattern.c_str(), path.c_str(), 0) == 0;
}

std::string Normal(const std::string& path) {
  return std::filesystem::path(path).lexically_normal().string();
}

// As RocksDB words what the kernel says.
IOStatus InputOutputError(const std::string& while_doing, const std::string& name) {
  return IOStatus::IOError("While " + while_doing + ": " + name, "Input/output error (injected)");
}

// Cuts a file to its first bytes, and then overwrites its end.
void Tear(const std::string& path, uint64_t synced, uint64_t size, const TornTail& tail) {
  const uint64_t unsynced = size - synced;
  const uint64_t sound = std::min(tail.sound_bytes, unsynced);
  const uint64_t garbage = std::min(tail.garbage_bytes, unsynced - sound);
  std::error_code ignored;  // gone already
  std::filesystem::resize_file(path, synced + sound + garbage, ignored);
  if (ignored || garbage == 0) return;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(synced + sound));
  std::minstd_rand random(static_cast<uint32_t>(size));
  for (uint64_t i = 0; i < garbage; ++i) file.put(static_cast<char>(random() >> 8));
}

}  // namespace

class FaultyFs::WritableFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  WritableFile(FaultyFs* fs, std::string name, std::unique_ptr<FSWritableFile> target)
      : FSWritableFileOwnerWrapper(std::move(target)), fs_(fs), name_(std::move(name)) {}

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return fs_->Append(name_, data, [&](const Slice& part) {
      return FSWritableFileOwnerWrapper::Append(part, options, debug);
    });
  }
  IOStatus Append(const Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*info*/, IODebugContext* debug) override {
    return Append(data, options, debug);
  }
  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    return fs_->Change(name_, [&] {
      const IOStatus status = FSWritableFileOwnerWrapper::Truncate(size, options, debug);
      if (!status.ok()) return status;
      MutexLock lock(&fs_->mu_);
      FileState& file = fs_->files_[name_];
      if (size < file.size) fs_->GiveBack(file.size - size);
      file.size = size;
      file.synced = std::min(file.synced, size);
      return status;
    });
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return SyncWith(&FSWritableFile::Sync, options, debug);
  }
  // May fail as a sync does, and makes nothing durable.
  IOStatus RangeSync(uint64_t offset, uint64_t bytes, const IOOptions& options,
                     IODebugContext* debug) override {
    return fs_->Sync(name_, [&] {
      return FSWritableFileOwnerWrapper::RangeSync(offset, bytes, options, debug);
    });
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return SyncWith(&FSWritableFile::Fsync, options, debug);
  }

 private:
  template <typename Method>
  IOStatus SyncWith(Method method, const IOOptions& options, IODebugContext* debug) {
    uint64_t size;
    {
      MutexLock lock(&fs_->mu_);
      size = fs_->files_[name_].size;
    }
    return fs_->Sync(name_, [&] {
      const IOStatus status =
          fs_->omits_real_syncs_ ? IOStatus::OK() : (target()->*method)(options, debug);
      if (!status.ok()) return status;
      MutexLock lock(&fs_->mu_);
      FileState& file = fs_->files_[name_];
      file.synced = std::max(file.synced, std::min(size, file.size));
      return status;
    });
  }

  FaultyFs* const fs_;
  const std::string name_;
};

class FaultyFs::Directory final : public rocksdb::FSDirectoryWrapper {
 public:
  Directory(FaultyFs* fs, std::string name, std::unique_ptr<rocksdb::FSDirectory> target)
      : FSDirectoryWrapper(std::move(target)), fs_(fs), name_(std::move(name)) {}

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return fs_->Sync(name_, [&] {
      return Linked(fs_->omits_real_syncs_ ? IOStatus::OK()
                                           : FSDirectoryWrapper::Fsync(options, debug));
    });
  }
  IOStatus FsyncWithDirOptions(const IOOptions& options, IODebugContext* debug,
                               const rocksdb::DirFsyncOptions& directory) override {
    return fs_->Sync(name_, [&] {
      return Linked(fs_->omits_real_syncs_
                        ? IOStatus::OK()
                        : FSDirectoryWrapper::FsyncWithDirOptions(options, debug, directory));
    });
  }

 private:
  IOStatus Linked(const IOStatus& status) {
    if (!status.ok()) return status;
    MutexLock lock(&fs_->mu_);
    fs_->LinkFilesOf(name_);
    return status;
  }

  FaultyFs* const fs_;
  const std::string name_;
};

class FaultyFs::SequentialFile final : public rocksdb::FSSequentialFileOwnerWrapper {
 public:
  SequentialFile(FaultyFs* fs, std::string name, std::unique_ptr<rocksdb::FSSequentialFile> target)
      : FSSequentialFileOwnerWrapper(std::move(target)), fs_(fs), name_(std::move(name)) {}

  IOStatus Read(size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) override {
    IOStatus status = fs_->MayRead(name_);
    if (status.ok()) {
      status = FSSequentialFileOwnerWrapper::Read(n, options, result, scratch, debug);
    }
    if (!status.ok()) return status;
    fs_->Damage(name_, place_, result, scratch);
    place_ += result->size();
    return status;
  }
  IOStatus Skip(uint64_t n) override {
    const IOStatus status = FSSequentialFileOwnerWrapper::Skip(n);
    if (status.ok()) place_ += n;
    return status;
  }

 private:
  FaultyFs* const fs_;
  const std::string name_;
  uint64_t place_ = 0;
};

class FaultyFs::RandomAccessFile final : public rocksdb::FSRandomAccessFileOwnerWrapper {
 public:
  RandomAccessFile(FaultyFs* fs, std::string name,
                   std::unique_ptr<rocksdb::FSRandomAccessFile> target)
      : FSRandomAccessFileOwnerWrapper(std::move(target)), fs_(fs), name_(std::move(name)) {}

  IOStatus Read(uint64_t offset, size_t n, const IOOptions& options, Slice* result, char* scratch,
                IODebugContext* debug) const override {
    IOStatus status = fs_->MayRead(name_);
    if (status.ok()) {
      status = FSRandomAccessFileOwnerWrapper::Read(offset, n, options, result, scratch, debug);
    }
    if (status.ok()) fs_->Damage(name_, offset, result, scratch);
    return status;
  }
  // By Read, one after the other.
  IOStatus MultiRead(rocksdb::FSReadRequest* requests, size_t count, const IOOptions& options,
                     IODebugContext* debug) override {
    return FSRandomAccessFile::MultiRead(requests, count, options, debug);
  }
  IOStatus ReadAsync(rocksdb::FSReadRequest& request, const IOOptions& options,
                     std::function<void(const rocksdb::FSReadRequest&, void*)> done, void* argument,
                     void** handle, rocksdb::IOHandleDeleter* deleter,
                     IODebugContext* debug) override {
    return FSRandomAccessFile::ReadAsync(request, options, done, argument, handle, deleter, debug);
  }

 private:
  FaultyFs* const fs_;
  const std::string name_;
};

void FaultyFs::PowerOff(const std::function<void(const std::string&, const FileState&)>& lose) {
  std::unique_lock disk_lock(disk_mu_);
  MutexLock lock(&mu_);
  if (crashed_) return;
  crashed_ = true;
  syncs_released_.SignalAll();
  for (const auto& [name, file] : files_) lose(name, file);
}

void FaultyFs::Crash(const TornTail& tail) {
  PowerOff([&tail](const std::string& name, const FileState& file) {
    std::error_code ignored;  // gone already
    if (!file.linked) {
      std::filesystem::remove(name, ignored);
    } else if (file.synced < file.size) {
      Tear(name, file.synced, file.size, tail);
    }
  });
}

void FaultyFs::Kill() {
  PowerOff([](const std::string&, const FileState&) {});
}

void FaultyFs::CrashAtChange(uint64_t number, const TornTail& tail) {
  MutexLock lock(&mu_);
  crash_at_change_ = number;
  crash_tail_ = tail;
}

uint64_t FaultyFs::changes() const {
  MutexLock lock(&mu_);
  return changes_;
}

bool FaultyFs::crashed() const {
  MutexLock lock(&mu_);
  return crashed_;
}

void FaultyFs::FailSyncsOf(const std::string& pattern) {
  MutexLock lock(&mu_);
  failing_syncs_ = pattern;
}

void FaultyFs::HangSyncsOf(const std::string& pattern) {
  MutexLock lock(&mu_);
  hanging_syncs_ = pattern;
  syncs_released_.SignalAll();
}

int FaultyFs::hanging() const {
  MutexLock lock(&mu_);
  return hanging_;
}

uint64_t FaultyFs::syncs() const {
  MutexLock lock(&mu_);
  return syncs_;
}

void FaultyFs::SetFreeBytes(std::optional<uint64_t> bytes) {
  MutexLock lock(&mu_);
  free_bytes_ = bytes;
}

std::optional<uint64_t> FaultyFs::free_bytes() const {
  MutexLock lock(&mu_);
  return free_bytes_;
}

void FaultyFs::FailReadsOf(const std::string& pattern) {
  MutexLock lock(&mu_);
  failing_reads_ = pattern;
}

void FaultyFs::FlipBitInReadsOf(const std::string& pattern, uint64_t offset) {
  MutexLock lock(&mu_);
  damaged_reads_ = pattern;
  damaged_offset_ = offset;
}

IOStatus FaultyFs::PowerIsOff(const std::string& name) const {
  return IOStatus::IOError("While writing: " + name, "the power is off (injected)");
}

IOStatus FaultyFs::Change(const std::string& name, const std::function<IOStatus()>& change) {
  std::optional<TornTail> crash;
  {
    MutexLock lock(&mu_);
    if (++changes_ == crash_at_change_) crash = crash_tail_;
  }
  if (crash.has_value()) Crash(*crash);
  std::shared_lock disk_lock(disk_mu_);
  if (crashed()) return PowerIsOff(name);
  return change();
}

IOStatus FaultyFs::Sync(const std::string& name, const std::function<IOStatus()>& sync) {
  {
    MutexLock lock(&mu_);
    while (!crashed_ && Matches(hanging_syncs_, name)) {
      ++hanging_;
      syncs_released_.Wait(&mu_);
      --hanging_;
    }
  }
  return Change(name, [&] {
    {
      MutexLock lock(&mu_);
      if (Matches(failing_syncs_, name)) return InputOutputError("fdatasync", name);
    }
    const IOStatus status = sync();
    MutexLock lock(&mu_);
    if (status.ok()) ++syncs_;
    return status;
  });
}

IOStatus FaultyFs::Append(const std::string& name, const Slice& data,
                          const std::function<IOStatus(const Slice&)>& append) {
  return Change(name, [&] {
    Slice part = data;
    {
      MutexLock lock(&mu_);
      const uint64_t room = free_bytes_.value_or(std::numeric_limits<uint64_t>::max());
      part = Slice(data.data(), std::min<uint64_t>(data.size(), room));
      if (free_bytes_.has_value()) *free_bytes_ -= part.size();
    }
    IOStatus status = part.empty() && !data.empty() ? IOStatus::OK() : append(part);
    if (!status.ok()) return status;
    MutexLock lock(&mu_);
    files_[name].size += part.size();
    if (part.size() == data.size()) return status;
    return IOStatus::NoSpace("While appending to file: " + name,
                             "No space left on device (injected)");
  });
}

void FaultyFs::LinkFilesOf(const std::string& directory) {
  for (auto& [name, file] : files_) {
    if (std::filesystem::path(name).parent_path() == std::filesystem::path(directory)) {
      file.linked = true;
    }
  }
}

void FaultyFs::GiveBack(uint64_t bytes) {
  if (free_bytes_.has_value()) *free_bytes_ += bytes;
}

IOStatus FaultyFs::MayRead(const std::string& name) const {
  MutexLock lock(&mu_);
  return Matches(failing_reads_, name) ? InputOutputError("pread", name) : IOStatus::OK();
}

void FaultyFs::Damage(const std::string& name, uint64_t offset, Slice* read, char* scratch) const {
  MutexLock lock(&mu_);
  if (!Matches(damaged_reads_, name)) return;
  if (damaged_offset_ < offset || damaged_offset_ >= offset + read->size()) return;
  if (read->data() != scratch) std::memmove(scratch, read->data(), read->size());
  scratch[damaged_offset_ - offset] ^= 0x04;
  *read = Slice(scratch, read->size());
}

IOStatus FaultyFs::NewSequentialFile(const std::string& name, const rocksdb::FileOptions& options,
                                     std::unique_ptr<rocksdb::FSSequentialFile>* file,
                                     IODebugContext* debug) {
  const IOStatus status = target()->NewSequentialFile(name, options, file, debug);
  if (status.ok()) {
    *file = std::make_unique<SequentialFile>(this, Normal(name), std::move(*file));
  }
  return status;
}

IOStatus FaultyFs::NewRandomAccessFile(const std::string& name, const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSRandomAccessFile>* file,
                                       IODebugContext* debug) {
  const IOStatus status = target()->NewRandomAccessFile(name, options, file, debug);
  if (status.ok()) {
    *file = std::make_unique<RandomAccessFile>(this, Normal(name), std::move(*file));
  }
  return status;
}

IOStatus FaultyFs::NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                   std::unique_ptr<FSWritableFile>* file, IODebugContext* debug) {
  return Change(name, [&] {
    const IOStatus status = target()->NewWritableFile(name, options, file, debug);
    if (!status.ok()) return status;
    *file = std::make_unique<WritableFile>(this, Normal(name), std::move(*file));
    MutexLock lock(&mu_);
    files_[Normal(name)] = FileState{};
    return status;
  });
}

IOStatus FaultyFs::NewDirectory(const std::string& name, const IOOptions& options,
                                std::unique_ptr<rocksdb::FSDirectory>* directory,
                                IODebugContext* debug) {
  const IOStatus status = target()->NewDirectory(name, options, directory, debug);
  if (status.ok()) {
    *directory = std::make_unique<Directory>(this, Normal(name), std::move(*directory));
  }
  return status;
}

IOStatus FaultyFs::DeleteFile(const std::string& name, const IOOptions& options,
                              IODebugContext* debug) {
  return Change(name, [&] {
    uint64_t links = 1;
    target()->NumFileLinks(name, options, &links, debug).PermitUncheckedError();
    const IOStatus status = target()->DeleteFile(name, options, debug);
    if (!status.ok()) return status;
    MutexLock lock(&mu_);
    const auto file = files_.find(Normal(name));
    if (file == files_.end()) return status;
    if (links == 1) GiveBack(file->second.size);
    files_.erase(file);
    return status;
  });
}

IOStatus FaultyFs::RenameFile(const std::string& from, const std::string& to,
                              const IOOptions& options, IODebugContext* debug) {
  return Change(from, [&] {
    const IOStatus status = target()->RenameFile(from, to, options, debug);
    if (!status.ok()) return status;
    const std::string from_name = Normal(from);
    const std::string to_name = Normal(to);
    MutexLock lock(&mu_);
    std::map<std::string, FileState> moved;  // the file, or those in the directory
    std::erase_if(files_, [&](const auto& file) {
      const bool is_it = file.first == from_name || file.first.starts_with(from_name + "/");
      if (is_it) moved[to_name + file.first.substr(from_name.size())] = file.second;
      return is_it;
    });
    for (const auto& [name, state] : moved) files_[name] = state;
    LinkFilesOf(std::filesystem::path(to_name).parent_path().string());
    return status;
  });
}

IOStatus FaultyFs::LinkFile(const std::string& from, const std::string& to,
                            const IOOptions& options, IODebugContext* debug) {
  return Change(to, [&] {
    const IOStatus status = target()->LinkFile(from, to, options, debug);
    if (!status.ok()) return status;
    MutexLock lock(&mu_);
    const auto file = files_.find(Normal(from));
    FileState state;  // of one from before: all of it is synced
    if (file != files_.end()) {
      state = file->second;
    } else {
      state.size = state.synced = std::filesystem::file_size(to);
    }
    state.linked = false;
    files_[Normal(to)] = state;
    return status;
  });
}

IOStatus FaultyFs::CreateDir(const std::string& name, const IOOptions& options,
                             IODebugContext* debug) {
  return Change(name, [&] { return target()->CreateDir(name, options, debug); });
}

IOStatus FaultyFs::CreateDirIfMissing(const std::string& name, const IOOptions& options,
                                      IODebugContext* debug) {
  return Change(name, [&] { return target()->CreateDirIfMissing(name, options, debug); });
}

IOStatus FaultyFs::DeleteDir(const std::string& name, const IOOptions& options,
                             IODebugContext* debug) {
  return Change(name, [&] { return target()->DeleteDir(name, options, debug); });
}

IOStatus FaultyFs::GetFreeSpace(const std::string& path, const IOOptions& options, uint64_t* bytes,
                                IODebugContext* debug) {
  const std::optional<uint64_t> set = free_bytes();
  if (!set.has_value()) return target()->GetFreeSpace(path, options, bytes, debug);
  *bytes = *set;
  return IOStatus::OK();
}

std::unique_ptr<rocksdb::Env> NewEnvOver(const std::shared_ptr<FaultyFs>& fs) {
  return rocksdb::NewCompositeEnv(fs);
}

}  // namespace skein
