#include "storage/trash.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

#include "rocksdb/env.h"
#include "storage/env_file.h"
#include "storage/file_util.h"

namespace skein {

Trash::Trash(const StorageOptions& options, std::string directory)
    : env_(EnvOf(options)),
      directory_(std::move(directory)),
      bytes_per_second_(std::max<uint64_t>(options.delete_bytes_per_second, 1)) {}

absl::StatusOr<std::unique_ptr<Trash>> Trash::Open(const StorageOptions& options,
                                                   const std::string& data_directory) {
  std::unique_ptr<Trash> trash(new Trash(options, data_directory + "/trash"));
  const absl::Status made = MakeDirectory(trash->directory_);
  if (!made.ok()) return made;
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(trash->env_, trash->directory_);
  if (!names.ok()) return names.status();
  {
    MutexLock lock(&trash->mu_);
    for (const std::string& name : *names) {
      uint64_t number = 0;
      std::from_chars(name.data(), name.data() + name.size(), number);
      trash->next_name_ = std::max(trash->next_name_, number + 1);
      trash->waiting_.push_back(trash->directory_ + "/" + name);
    }
  }
  trash->thread_ = std::thread([trash = trash.get()] { trash->Run(); });
  return trash;
}

Trash::~Trash() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    work_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status Trash::Discard(const std::string& path) {
  if (env_->FileExists(path).IsNotFound()) return absl::OkStatus();
  MutexLock lock(&mu_);
  const std::string name = directory_ + "/" + std::to_string(next_name_++);
  const absl::Status moved = Rename(env_, path, name);
  if (!moved.ok()) return moved;
  waiting_.push_back(name);
  work_.Signal();
  return absl::OkStatus();
}

void Trash::Run() {
  while (true) {
    std::string path;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && waiting_.empty()) work_.Wait(&mu_);
      if (stopping_) return;
      path = std::move(waiting_.front());
      waiting_.pop_front();
    }
    if (!Remove(path)) return;
  }
}

bool Trash::Remove(const std::string& path) {
  bool is_directory = false;
  if (!env_->IsDirectory(path, &is_directory).ok()) return true;
  if (!is_directory) {
    uint64_t bytes = 0;
    env_->GetFileSize(path, &bytes).PermitUncheckedError();
    env_->DeleteFile(path).PermitUncheckedError();
    return PauseAfter(bytes);
  }
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(env_, path);
  for (const std::string& name : names.value_or(std::vector<std::string>())) {
    if (!Remove(path + "/" + name)) return false;
  }
  env_->DeleteDir(path).PermitUncheckedError();
  return true;
}

bool Trash::PauseAfter(uint64_t bytes) {
  const auto until = std::chrono::steady_clock::now() +
                     std::chrono::microseconds(bytes * 1'000'000 / bytes_per_second_);
  MutexLock lock(&mu_);
  while (!stopping_ && work_.WaitUntil(&mu_, until)) continue;
  return !stopping_;
}

}  // namespace skein
