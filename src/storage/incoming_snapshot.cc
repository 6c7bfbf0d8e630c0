#include "storage/incoming_snapshot.h"

#include <algorithm>

#include "common/checksum.h"
#include "common/low_priority.h"
#include "fmt/format.h"
#include "rocksdb/db.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "storage/damage.h"
#include "storage/disk_space.h"
#include "storage/env_file.h"
#include "storage/file_util.h"
#include "storage/record.h"
#include "storage/snapshot_file.h"
#include "storage/state_head.h"
#include "storage/state_keys.h"

namespace skein {
namespace {

constexpr char kReceiving[] = "/manifest";
constexpr char kComplete[] = "/complete";
constexpr char kUnsettled[] = ".part";
constexpr char kFetchAgain[] = "It is fetched again.";
// Or a slow disk holds up the receiver for so long, when a file settles, that it seems to be gone.
constexpr uint64_t kUnsyncedBytesMax = 16 << 20;

// Writes into the state where it begins, and with that shows that RocksDB can open it.
absl::Status WriteInstalledRecord(const StorageOptions& options, const std::string& directory,
                                  const LogBase& base) {
  StorageOptions small = options;
  small.state_block_cache_bytes = 8 << 20;
  rocksdb::Options db_options = StateDatabaseOptions(small, nullptr);
  db_options.create_if_missing = false;
  db_options.disable_auto_compactions = true;
  rocksdb::DB* opened = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(db_options, directory, &opened);
  const std::string what = "snapshot " + directory;
  if (!status.ok()) return FromRocksStatus(status, "cannot open the " + what, kFetchAgain);
  const std::unique_ptr<rocksdb::DB> db(opened);
  const absl::StatusOr<StateHead> head = ReadStateHead(db.get(), what, kFetchAgain);
  if (!head.ok()) return head.status();
  if (head->applied != base.point || head->membership != base.membership) {
    return DamagedData(what + " is not what its manifest says", kFetchAgain);
  }
  rocksdb::WriteOptions no_log;
  no_log.disableWAL = true;
  status = db->Put(no_log, kInstalledKey, SealLogBase(base));
  if (status.ok()) status = db->Flush(rocksdb::FlushOptions());
  return FromRocksStatus(status, "cannot write to the " + what, kFetchAgain);
}

}  // namespace

IncomingSnapshot::IncomingSnapshot(const StorageOptions& options, const std::string& data_directory,
                                   Trash* trash)
    : options_(options),
      env_(EnvOf(options)),
      data_directory_(data_directory),
      directory_(data_directory + "/incoming"),
      state_(directory_ + "/state"),
      trash_(trash) {}

IncomingSnapshot::~IncomingSnapshot() = default;

absl::StatusOr<std::unique_ptr<IncomingSnapshot>> IncomingSnapshot::Open(
    const StorageOptions& options, const std::string& data_directory, Trash* trash, Index applied) {
  std::unique_ptr<IncomingSnapshot> incoming(new IncomingSnapshot(options, data_directory, trash));
  MutexLock lock(&incoming->mu_);
  const absl::Status loaded = incoming->Load(applied);
  if (!loaded.ok()) return loaded;
  return incoming;
}

// What a crash amid anything leaves without a manifest, or without files, is of no use.
absl::Status IncomingSnapshot::Load(Index applied) {
  complete_ = FileExists(directory_ + kComplete);
  const absl::StatusOr<std::string> content =
      ReadFile(env_, directory_ + (complete_ ? kComplete : kReceiving));
  if (!content.ok() && !absl::IsNotFound(content.status())) return content.status();
  if (content.ok() && FileExists(state_)) {
    absl::StatusOr<SnapshotManifest> manifest = DecodeSnapshotManifest(*content);
    if (manifest.ok() && manifest->base.point.at.index > applied) manifest_ = *std::move(manifest);
  }
  return manifest_.has_value() ? FindTableFiles() : Clear();
}

absl::Status IncomingSnapshot::Clear() {
  settling_.reset();
  open_.reset();
  open_bytes_ = 0;
  suspect_.clear();
  manifest_.reset();
  complete_ = false;
  is_there_.clear();
  return trash_->Discard(directory_);
}

absl::Status IncomingSnapshot::GiveUp(const absl::Status& failure) {
  Clear().IgnoreError();  // the next Begin tries again
  return failure;
}

absl::Status IncomingSnapshot::Discard() {
  MutexLock lock(&mu_);
  return Clear();
}

// Everything else goes: it has not settled, or RocksDB has changed it when it was about to become
// complete.
absl::Status IncomingSnapshot::FindTableFiles() {
  const std::vector<SnapshotFile>& files = manifest_->files;
  is_there_.assign(files.size(), complete_);
  if (complete_) return absl::OkStatus();
  const absl::StatusOr<std::vector<std::string>> names = NamesIn(env_, state_);
  if (!names.ok()) return names.status();
  for (const std::string& name : *names) {
    const auto file = std::ranges::find(files, name, &SnapshotFile::name);
    uint64_t bytes = 0;
    rocksdb::Status status;
    const bool known = file != files.end() && IsTableFile(name);
    if (known) status = env_->GetFileSize(PathOf(name), &bytes);
    if (status.ok() && known && bytes == file->bytes) {
      is_there_[static_cast<size_t>(file - files.begin())] = true;
    } else if (status.ok()) {
      status = env_->DeleteFile(PathOf(name));
    }
    if (!status.ok()) return FromRocksStatus(status, "cannot use " + PathOf(name));
  }
  return absl::OkStatus();
}

absl::Status IncomingSnapshot::CheckRoom() const {
  uint64_t needed = 0;
  for (const SnapshotFile& file : manifest_->files) {
    if (!IsReceived(file)) needed += file.bytes;
  }
  if (open_ != nullptr) needed -= std::max(open_bytes_, open_room_);
  if (needed == 0) return absl::OkStatus();
  const absl::StatusOr<uint64_t> free = FreeBytes(options_, data_directory_);
  if (!free.ok()) return free.status();
  if (*free >= options_.snapshot_disk_reserve_bytes &&
      *free - options_.snapshot_disk_reserve_bytes >= needed) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      fmt::format("no room for a snapshot in {}: {} bytes are still to come, {} are free, and {} "
                  "of them are kept in reserve",
                  data_directory_, needed, *free, options_.snapshot_disk_reserve_bytes));
}

absl::Status IncomingSnapshot::CreateEmptyFiles() {
  for (size_t i = 0; i < is_there_.size(); ++i) {
    if (manifest_->files[i].bytes > 0 || is_there_[i]) continue;
    const absl::Status made = ReplaceFile(env_, PathOf(manifest_->files[i].name), "");
    if (!made.ok()) return made;
    is_there_[i] = true;
  }
  return absl::OkStatus();
}

absl::Status IncomingSnapshot::Begin(const SnapshotManifest& manifest) {
  MutexLock lock(&mu_);
  const bool goes_on = manifest_ == manifest;
  absl::Status status;
  if (!goes_on) {
    status = Clear();
    if (status.ok()) status = MakeDirectory(directory_);
    if (status.ok()) status = MakeDirectory(state_);
    if (!status.ok()) return status;
    manifest_ = manifest;
    is_there_.assign(manifest.files.size(), false);
  }
  status = CheckRoom();
  if (status.ok() && !goes_on) {
    status = ReplaceFile(env_, directory_ + kReceiving, EncodeSnapshotManifest(manifest));
  }
  if (status.ok()) status = CreateEmptyFiles();
  return status.ok() ? status : GiveUp(status);
}

bool IncomingSnapshot::IsReceived(const SnapshotFile& file) const {
  return is_there_[static_cast<size_t>(&file - manifest_->files.data())] ||
         (settling_.has_value() && settling_->file == &file);
}

const SnapshotFile* IncomingSnapshot::WantedFile() const {
  if (!manifest_.has_value()) return nullptr;
  for (const SnapshotFile& file : manifest_->files) {
    if (!IsReceived(file)) return &file;
  }
  return nullptr;
}

std::string IncomingSnapshot::id() const {
  MutexLock lock(&mu_);
  return manifest_.has_value() ? manifest_->id : "";
}

std::optional<IncomingSnapshot::Wanted> IncomingSnapshot::Next() const {
  MutexLock lock(&mu_);
  const SnapshotFile* file = WantedFile();
  if (file == nullptr) return std::nullopt;
  return Wanted{file->name, open_bytes_, file->bytes - open_bytes_, file->name == suspect_};
}

uint64_t IncomingSnapshot::bytes_done() const {
  MutexLock lock(&mu_);
  if (!manifest_.has_value()) return 0;
  uint64_t bytes = open_bytes_;
  for (const SnapshotFile& file : manifest_->files) {
    if (IsReceived(file)) bytes += file.bytes;
  }
  return bytes;
}

uint64_t IncomingSnapshot::bytes_total() const {
  MutexLock lock(&mu_);
  return manifest_.has_value() ? manifest_->TotalBytes() : 0;
}

absl::Status IncomingSnapshot::Write(std::string_view file, uint64_t offset, std::string_view bytes,
                                     uint64_t checksum) {
  MutexLock lock(&mu_);
  const SnapshotFile* wanted = WantedFile();
  if (wanted == nullptr || wanted->name != file || open_bytes_ != offset || bytes.empty() ||
      bytes.size() > wanted->bytes - offset) {
    return absl::FailedPreconditionError(
        fmt::format("{} bytes from {} on of {} are not what is wanted next of the snapshot",
                    bytes.size(), offset, file));
  }
  if (Checksum64(bytes) != checksum) {
    return absl::DataLossError(fmt::format("{} bytes from {} on of {} were damaged on their way",
                                           bytes.size(), offset, file));
  }
  const absl::Status written = Append(bytes);
  return written.ok() || absl::IsDataLoss(written) ? written : GiveUp(written);
}

absl::Status IncomingSnapshot::OpenWanted() {
  const SnapshotFile& file = *WantedFile();
  const std::string path = PathOf(file.name) + kUnsettled;
  const rocksdb::Status status = env_->NewWritableFile(path, &open_, rocksdb::EnvOptions());
  if (!status.ok()) return FromRocksStatus(status, "cannot create " + path);
  // With its room given to it before, each sync has less to do. Some file systems cannot do that.
  open_room_ = open_->Allocate(0, file.bytes).ok() ? file.bytes : 0;
  unsynced_bytes_ = 0;
  return absl::OkStatus();
}

// Of a source that is beside writes each part is on the disk before the next is written, so that
// the syncs of a log on the same disk, of this node or of another, find little in their way. Else
// the disk writes while the next is received.
rocksdb::Status IncomingSnapshot::Store(uint64_t part_bytes) {
  unsynced_bytes_ += part_bytes;
  if (part_bytes == kSnapshotPartBytesMax && unsynced_bytes_ < kUnsyncedBytesMax) {
    return open_->RangeSync(open_bytes_ - part_bytes, part_bytes);
  }
  unsynced_bytes_ = 0;
  return open_->Sync();
}

absl::Status IncomingSnapshot::Append(std::string_view bytes) {
  const SnapshotFile& file = *WantedFile();
  if (open_ == nullptr) {
    if (absl::Status opened = OpenWanted(); !opened.ok()) return opened;
  }
  open_bytes_ += bytes.size();
  const bool whole = open_bytes_ == file.bytes;
  rocksdb::Status status = open_->Append(rocksdb::Slice(bytes.data(), bytes.size()));
  if (status.ok() && !whole) status = Store(bytes.size());
  if (!status.ok()) return FromRocksStatus(status, "cannot write " + PathOf(file.name));
  if (!whole) return absl::OkStatus();
  if (absl::Status settled = AwaitSettled(); !settled.ok()) return settled;
  settling_ = {&file,
               std::async(std::launch::async, [this, &file, written = std::move(open_)]() mutable {
                 return Settle(file.name, std::move(written));
               })};
  open_bytes_ = 0;
  return absl::OkStatus();
}

// On a thread of its own.
absl::Status IncomingSnapshot::Settle(const std::string& name,
                                      std::unique_ptr<rocksdb::WritableFile> file) const {
  GiveWay();
  const std::string path = PathOf(name) + kUnsettled;
  rocksdb::Status status = file->Sync();
  if (!status.ok()) return FromRocksStatus(status, "cannot write " + path);
  if (IsTableFile(name)) {
    const absl::Status sound = VerifyTableFile(options_, path);
    if (!sound.ok()) return sound;
  }
  // Or a big state drives from memory what the machine's other processes need there.
  file->InvalidateCache(0, 0).PermitUncheckedError();
  status = file->Close();
  if (!status.ok()) return FromRocksStatus(status, "cannot write " + path);
  return Rename(env_, path, PathOf(name));
}

// What stays of it, if the disk fails, is written over later.
void IncomingSnapshot::DropOpen() {
  if (open_ != nullptr) {
    env_->DeleteFile(PathOf(WantedFile()->name) + kUnsettled).PermitUncheckedError();
  }
  open_.reset();
  open_bytes_ = 0;
}

// If the file that settles is not sound, then it is the next that is wanted.
absl::Status IncomingSnapshot::AwaitSettled() {
  if (!settling_.has_value()) return absl::OkStatus();
  const SnapshotFile& file = *settling_->file;
  const absl::Status settled = settling_->done.get();
  if (settled.ok()) {
    is_there_[static_cast<size_t>(&file - manifest_->files.data())] = true;
  } else if (absl::IsDataLoss(settled)) {
    suspect_ = file.name;
    env_->DeleteFile(PathOf(file.name) + kUnsettled).PermitUncheckedError();
    DropOpen();
  }
  settling_.reset();
  return settled;
}

absl::StatusOr<LogBase> IncomingSnapshot::Finish() {
  MutexLock lock(&mu_);
  if (!manifest_.has_value() || WantedFile() != nullptr) {
    return absl::FailedPreconditionError("not all of the snapshot was received");
  }
  if (complete_) return manifest_->base;
  const absl::Status settled = AwaitSettled();
  if (absl::IsDataLoss(settled)) return settled;
  const absl::Status sealed = settled.ok() ? Seal() : settled;
  if (!sealed.ok()) return GiveUp(sealed);
  complete_ = true;
  return manifest_->base;
}

absl::Status IncomingSnapshot::Seal() {
  absl::Status status = WriteInstalledRecord(options_, state_, manifest_->base);
  if (status.ok()) status = SyncDirectory(env_, state_);
  if (status.ok()) status = Rename(env_, directory_ + kReceiving, directory_ + kComplete);
  return status;
}

std::optional<LogBase> IncomingSnapshot::complete() const {
  MutexLock lock(&mu_);
  if (!complete_) return std::nullopt;
  return manifest_->base;
}

absl::Status IncomingSnapshot::MoveTo(const std::string& directory, const LogBase& base) {
  MutexLock lock(&mu_);
  if (!complete_ || manifest_->base != base) {
    return absl::FailedPreconditionError(
        fmt::format("there is no complete snapshot for index {} in {}", base.point.at.index.value(),
                    directory_));
  }
  const absl::Status moved = Rename(env_, state_, directory);
  // Also if only the sync of the rename has failed. The next start or the next Begin tries again.
  if (!FileExists(state_)) Clear().IgnoreError();
  return moved;
}

}  // namespace skein
