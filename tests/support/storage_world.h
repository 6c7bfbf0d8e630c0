// One node's disk with the RocksDB stores on it: the World of the contract suites.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "storage/kv_state_machine.h"
#include "storage/rocks_log_store.h"
#include "tests/support/storage_event_log.h"
#include "tests/support/storage_forgetful_fs.h"
#include "tests/support/temp_dir.h"

namespace skein {

class RocksWorld {
 public:
  RocksWorld() { PowerOn(); }

  absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const Membership& initial) {
    if (crashed_) PowerOn();
    auto log = RocksLogStore::Open(options_, directory_.path(), initial);
    if (!log.ok()) return log.status();
    return std::unique_ptr<LogStore>(*std::move(log));
  }
  absl::StatusOr<std::unique_ptr<StateMachine>> OpenState() {
    if (crashed_) PowerOn();
    auto state = KvStateMachine::Open(options_, directory_.path());
    if (!state.ok()) return state.status();
    return std::unique_ptr<StateMachine>(*std::move(state));
  }
  std::optional<std::string> Get(StateMachine& state, const std::string& key) {
    const auto value = dynamic_cast<KvStateMachine&>(state).Get(key);
    EXPECT_TRUE(value.ok()) << value.status();
    if (!value.ok() || !value->has_value()) return std::nullopt;
    return (*value)->value;
  }
  uint64_t Digest(StateMachine& state) {
    const auto digest = dynamic_cast<KvStateMachine&>(state).Digest();
    EXPECT_TRUE(digest.ok()) << digest.status();
    return digest.ok() ? *digest : 0;
  }
  void MakeDurable(StateMachine& state) {
    EXPECT_TRUE(dynamic_cast<KvStateMachine&>(state).Flush().ok());
  }
  void LosePower(size_t unsynced_bytes_kept = 0) {
    fs_->Crash(unsynced_bytes_kept);
    crashed_ = true;
  }
  bool WaitUntil(const EventLog& log, const std::function<bool(const std::vector<Event>&)>& done) {
    return log.WaitUntil(done);
  }

  ForgetfulFs& fs() { return *fs_; }
  StorageOptions& options() { return options_; }
  const TempDir& directory() const { return directory_; }

 private:
  // File systems stay: stores that were opened on them may still be closing.
  void PowerOn() {
    fs_ = std::make_shared<ForgetfulFs>();
    envs_.push_back(NewEnvOver(fs_));
    options_.env = envs_.back().get();
    crashed_ = false;
  }

  TempDir directory_;
  StorageOptions options_;
  std::shared_ptr<ForgetfulFs> fs_;
  std::vector<std::unique_ptr<rocksdb::Env>> envs_;
  bool crashed_ = false;
};

}  // namespace skein
