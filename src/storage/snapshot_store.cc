#include "storage/snapshot_store.h"

#include <algorithm>
#include <utility>

#include "common/checksum.h"
#include "common/random.h"
#include "fmt/format.h"
#include "rocksdb/db.h"
#include "rocksdb/listener.h"
#include "storage/damage.h"
#include "storage/env_file.h"
#include "storage/file_util.h"
#include "storage/state_head.h"

namespace skein {
namespace {

absl::StatusOr<StateHead> ReadHeadOf(const rocksdb::Options& options,
                                     const std::string& directory) {
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(options, directory, &opened);
  const std::string what = "snapshot " + directory;
  if (!status.ok()) return FromRocksStatus(status, "cannot open the " + what);
  const std::unique_ptr<rocksdb::DB> db(opened);
  return ReadStateHead(db.get(), what, kReplaceNodeHint);
}

}  // namespace

Snapshot::Snapshot(const StorageOptions& options, std::string directory, SnapshotManifest manifest,
                   std::shared_ptr<Trash> trash)
    : options_(options),
      directory_(std::move(directory)),
      manifest_(std::move(manifest)),
      trash_(std::move(trash)) {}

// What stays behind, if the disk fails, goes at the next start.
Snapshot::~Snapshot() { trash_->Discard(directory_).IgnoreError(); }

absl::StatusOr<SnapshotPart> Snapshot::Read(const std::string& file, uint64_t offset,
                                            size_t bytes_max) const {
  const auto found = std::ranges::find(manifest_.files, file, &SnapshotFile::name);
  if (found == manifest_.files.end() || offset >= found->bytes) {
    return absl::InvalidArgumentError(
        fmt::format("snapshot {} has nothing at {} of {}", manifest_.id, offset, file));
  }
  const size_t bytes = std::min<uint64_t>(bytes_max, found->bytes - offset);
  absl::StatusOr<std::string> part = ReadPart(EnvOf(options_), PathOf(file), offset, bytes);
  if (!part.ok()) return part.status();
  const uint64_t checksum = Checksum64(*part);
  return SnapshotPart{*std::move(part), checksum};
}

absl::Status Snapshot::Verify(const std::string& file) const {
  if (std::ranges::find(manifest_.files, file, &SnapshotFile::name) == manifest_.files.end()) {
    return absl::InvalidArgumentError(fmt::format("snapshot {} has no {}", manifest_.id, file));
  }
  return IsTableFile(file) ? VerifyTableFile(options_, PathOf(file)) : absl::OkStatus();
}

SnapshotStore::SnapshotStore(const StorageOptions& options, const std::string& data_directory,
                             const KvStateMachine* state)
    : options_(options),
      env_(EnvOf(options)),
      directory_(data_directory + "/snapshots"),
      state_(state),
      trash_(state->trash()) {}

absl::StatusOr<std::unique_ptr<SnapshotStore>> SnapshotStore::Open(
    const StorageOptions& options, const std::string& data_directory, const KvStateMachine* state) {
  std::unique_ptr<SnapshotStore> store(new SnapshotStore(options, data_directory, state));
  absl::Status status = store->trash_->Discard(store->directory_);
  if (status.ok()) status = MakeDirectory(store->directory_);
  if (!status.ok()) return status;
  return store;
}

std::shared_ptr<const Snapshot> SnapshotStore::Find(const std::string& id) const {
  MutexLock lock(&mu_);
  const auto found = snapshots_.find(id);
  return found == snapshots_.end() ? nullptr : found->second.lock();
}

std::shared_ptr<const Snapshot> SnapshotStore::FindFor(Index at_least) {
  std::erase_if(snapshots_, [](const auto& snapshot) { return snapshot.second.expired(); });
  const auto oldest =
      std::chrono::steady_clock::now() - std::chrono::milliseconds(options_.snapshot_reuse_max_ms);
  for (auto known = snapshots_.rbegin(); known != snapshots_.rend(); ++known) {  // newest first
    std::shared_ptr<const Snapshot> snapshot = known->second.lock();
    if (snapshot != nullptr && snapshot->manifest_.base.point.at.index >= at_least &&
        snapshot->made_ > oldest) {
      return snapshot;
    }
  }
  return nullptr;
}

absl::StatusOr<std::shared_ptr<const Snapshot>> SnapshotStore::Get(Index at_least) {
  {
    MutexLock lock(&mu_);
    while (making_) made_.Wait(&mu_);
    std::shared_ptr<const Snapshot> snapshot = FindFor(at_least);
    if (snapshot != nullptr) return snapshot;
    making_ = true;
  }
  absl::StatusOr<std::shared_ptr<const Snapshot>> made = Make(at_least);
  MutexLock lock(&mu_);
  making_ = false;
  made_.SignalAll();
  if (made.ok()) snapshots_[(*made)->manifest_.id] = *made;
  return made;
}

absl::StatusOr<std::shared_ptr<const Snapshot>> SnapshotStore::Make(Index at_least) {
  const Index applied = state_->applied_index();
  if (applied < at_least || applied == Index(0)) {
    return absl::UnavailableError(
        fmt::format("the state is at index {}, not yet at {}", applied.value(), at_least.value()));
  }
  const std::string id = fmt::format("{:020}-{:016x}", applied.value(), Random::SeedFromSystem());
  const std::string directory = directory_ + "/" + id;
  absl::StatusOr<SnapshotManifest> manifest = Fill(id, directory);
  if (!manifest.ok()) {
    trash_->Discard(directory).IgnoreError();  // it goes at the next start
    return manifest.status();
  }
  return std::make_shared<const Snapshot>(options_, directory, *std::move(manifest), trash_);
}

absl::StatusOr<SnapshotManifest> SnapshotStore::Fill(const std::string& id,
                                                     const std::string& directory) const {
  const std::string state = directory + "/state";
  absl::Status status = MakeDirectory(directory);
  if (status.ok()) status = state_->Checkpoint(state);
  if (!status.ok()) return status;
  absl::StatusOr<SnapshotManifest> manifest = Describe(id, state);
  if (!manifest.ok()) return manifest;
  status = ReplaceFile(env_, directory + "/manifest", EncodeSnapshotManifest(*manifest));
  if (!status.ok()) return status;
  return manifest;
}

absl::StatusOr<SnapshotManifest> SnapshotStore::Describe(const std::string& id,
                                                         const std::string& state) const {
  StorageOptions small = options_;
  small.state_block_cache_bytes = 8 << 20;
  const absl::StatusOr<StateHead> head = ReadHeadOf(StateDatabaseOptions(small, nullptr), state);
  if (!head.ok()) return head.status();
  SnapshotManifest manifest{.id = id,
                            .base = {head->applied, head->membership},
                            .cluster_time_ms = head->cluster_time_ms};
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(env_, state);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const std::string path = state + "/" + name;
    SnapshotFile file{.name = name};
    const rocksdb::Status status = env_->GetFileSize(path, &file.bytes);
    if (!status.ok()) return FromRocksStatus(status, "cannot read " + path);
    manifest.files.push_back(std::move(file));
  }
  return manifest;
}

}  // namespace skein
