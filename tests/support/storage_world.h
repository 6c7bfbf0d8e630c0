// One node's disk with the RocksDB stores on it: the Worlds of the contract suites.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "storage/kv_state_machine.h"
#include "storage/rocks_log_store.h"
#include "storage/snapshot_store.h"
#include "tests/contract/world.h"
#include "tests/support/storage_event_log.h"
#include "tests/support/storage_faulty_fs.h"
#include "tests/support/storage_transfer.h"
#include "tests/support/temp_dir.h"
#include "tests/support/wait.h"

namespace skein {

// On the file system as it is.
class PlainWorld : public WorldWithoutFaults {
 public:
  absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const Membership& initial) {
    auto log = RocksLogStore::Open(options_, directory_.path(), initial);
    if (!log.ok()) return log.status();
    return std::unique_ptr<LogStore>(*std::move(log));
  }
  absl::StatusOr<std::unique_ptr<StateMachine>> OpenState() {
    auto state = KvStateMachine::Open(options_, directory_.path());
    if (!state.ok()) return state.status();
    return std::unique_ptr<StateMachine>(*std::move(state));
  }
  std::optional<std::string> Get(StateMachine& state, const std::string& key) {
    const auto value = Kv(state).Get(key);
    EXPECT_TRUE(value.ok()) << value.status();
    if (!value.ok() || !value->has_value()) return std::nullopt;
    return (*value)->value;
  }
  uint64_t Digest(StateMachine& state) {
    const auto digest = Kv(state).Digest();
    EXPECT_TRUE(digest.ok()) << digest.status();
    return digest.ok() ? *digest : 0;
  }
  bool MakeDurable(StateMachine& state) { return Kv(state).Flush().ok(); }
  // Brings a snapshot of all that `source`, opened on the world `from`, has applied to this world,
  // ready for Install on `target`.
  absl::StatusOr<LogBase> Fetch(PlainWorld& from, StateMachine& source, StateMachine& target) {
    auto store = SnapshotStore::Open(from.options(), from.directory().path(), &Kv(source));
    if (!store.ok()) return store.status();
    const auto snapshot = (*store)->Get(Kv(source).applied_index());
    if (!snapshot.ok()) return snapshot.status();
    return Receive(**snapshot, Kv(target).incoming());
  }
  bool WaitUntil(const EventLog& log, const std::function<bool(const std::vector<Event>&)>& done) {
    return log.WaitUntil(done);
  }

  StorageOptions& options() { return options_; }
  const TempDir& directory() const { return directory_; }

  static KvStateMachine& Kv(StateMachine& state) { return dynamic_cast<KvStateMachine&>(state); }

 protected:
  TempDir directory_;
  StorageOptions options_;
};

// On a file system with all faults. Opening a store replaces one that lost power or was told to
// fail, with what is left of it.
class FaultyWorld : public PlainWorld {
 public:
  FaultyWorld() { PowerOn(); }

  absl::StatusOr<std::unique_ptr<LogStore>> OpenLog(const Membership& initial) {
    if (broken_) PowerOn();
    return PlainWorld::OpenLog(initial);
  }
  absl::StatusOr<std::unique_ptr<StateMachine>> OpenState() {
    if (broken_) PowerOn();
    return PlainWorld::OpenState();
  }

  static constexpr bool kCanLosePower = true;
  void LosePower(const TornTail& tail = {}) {
    fs_->Crash(tail);
    broken_ = true;
  }
  static constexpr bool kCanFailSyncs = true;
  void FailSyncs() {
    fs_->FailSyncsOf("*");
    broken_ = true;
  }
  static constexpr bool kCanHang = true;
  void HangSyncs() { fs_->HangSyncsOf("*"); }
  bool AwaitHang() {
    return skein::WaitUntil(std::chrono::seconds(20), [this] { return fs_->hanging() > 0; });
  }
  void ReleaseSyncs() { fs_->HangSyncsOf(""); }
  static constexpr bool kCanRunFull = true;
  void SetFreeBytes(std::optional<uint64_t> bytes) { fs_->SetFreeBytes(bytes); }

  FaultyFs& fs() { return *fs_; }

 private:
  // File systems stay: stores that were opened on them may still be closing.
  void PowerOn() {
    fs_ = std::make_shared<FaultyFs>();
    envs_.push_back(NewEnvOver(fs_));
    options_.env = envs_.back().get();
    broken_ = false;
  }

  std::shared_ptr<FaultyFs> fs_;
  std::vector<std::unique_ptr<rocksdb::Env>> envs_;
  bool broken_ = false;
};

}  // namespace skein
