#include "storage/rocks_log_store.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <thread>
#include <variant>

#include "common/check.h"
#include "storage/file_util.h"
#include "storage/log_database.h"

namespace skein {
namespace {

bool Removes(const LogWrite& write) {
  return write.reset.has_value() || write.truncate_from.has_value();
}

}  // namespace

class RocksLogStore::Worker {
 public:
  Worker(const StorageOptions& options, std::unique_ptr<LogDatabase> log)
      : group_bytes_max_(options.log_group_bytes_max), log_(std::move(log)) {}
  ~Worker();

  absl::StatusOr<LogRecovery> Recover();
  absl::StatusOr<LogPoint> PointAt(Index index) const { return log_->PointAt(index); }
  absl::StatusOr<LogRecovery> WriteAtOnce(const LogWrite& write);
  absl::StatusOr<LogRecovery> ForgetLost();
  void Start(EventSink* sink);
  void Write(LogWrite write);
  void Read(LogRead read);
  void Trim(Index index);
  Index FirstIndex() const { return Index(first_index_.load(std::memory_order_acquire)); }

 private:
  struct PendingWrite {
    LogWrite write;
    uint64_t reads_before = 0;  // how many reads had been issued
  };
  struct DropFiles {};
  struct PendingRead {
    std::variant<LogRead, Index /* to trim to */, DropFiles> what;
    uint64_t writes_before = 0;  // how many writes had been issued
  };
  struct Group {
    std::vector<LogWrite> writes;
    std::optional<LogBase> base;
  };

  void RunWriter();
  void RunReader();
  bool CanWrite() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Group TakeGroup() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void IssueRead(PendingRead read) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Perform(const PendingRead& read);
  absl::Status PrepareTrim(Index index);
  // Posts, unless a failure was posted before.
  void Complete(Event event);
  void Fail(const absl::Status& status);

  // Constant after construction, or after Start.
  const size_t group_bytes_max_;
  const std::unique_ptr<LogDatabase> log_;
  EventSink* sink_ = nullptr;

  Index trimmed_;  // owned by the reader: the highest base asked for

  std::atomic<uint64_t> first_index_{1};
  std::atomic<uint64_t> last_durable_{0};

  Mutex mu_;
  CondVar writer_work_;
  CondVar reader_work_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::deque<PendingWrite> writes_ ABSL_GUARDED_BY(mu_);
  std::deque<PendingRead> reads_ ABSL_GUARDED_BY(mu_);
  std::optional<LogBase> new_base_ ABSL_GUARDED_BY(mu_);
  uint64_t issued_writes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t finished_writes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t issued_reads_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t finished_reads_ ABSL_GUARDED_BY(mu_) = 0;

  Mutex post_mu_;
  bool failed_ ABSL_GUARDED_BY(post_mu_) = false;

  std::thread writer_;
  std::thread reader_;
};

RocksLogStore::Worker::~Worker() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    writer_work_.SignalAll();
    reader_work_.SignalAll();
  }
  if (writer_.joinable()) writer_.join();
  if (reader_.joinable()) reader_.join();
}

absl::StatusOr<LogRecovery> RocksLogStore::Worker::Recover() {
  absl::StatusOr<LogRecovery> recovery = log_->Recover();
  if (recovery.ok()) {
    first_index_ = recovery->base.point.at.index.Next().value();
    last_durable_ = recovery->last.at.index.value();
    trimmed_ = recovery->base.point.at.index;
  }
  return recovery;
}

absl::StatusOr<LogRecovery> RocksLogStore::Worker::WriteAtOnce(const LogWrite& write) {
  SKEIN_CHECK(sink_ == nullptr);
  const absl::Status written = log_->Write({write}, nullptr);
  if (!written.ok()) return written;
  return Recover();
}

absl::StatusOr<LogRecovery> RocksLogStore::Worker::ForgetLost() {
  SKEIN_CHECK(sink_ == nullptr);
  const absl::Status forgotten = log_->ForgetLost();
  if (!forgotten.ok()) return forgotten;
  return Recover();
}

void RocksLogStore::Worker::Start(EventSink* sink) {
  SKEIN_CHECK(sink_ == nullptr);
  sink_ = sink;
  writer_ = std::thread([this] { RunWriter(); });
  reader_ = std::thread([this] { RunReader(); });
}

void RocksLogStore::Worker::Write(LogWrite write) {
  MutexLock lock(&mu_);
  ++issued_writes_;
  writes_.push_back({std::move(write), issued_reads_});
  writer_work_.Signal();
}

void RocksLogStore::Worker::Read(LogRead read) {
  MutexLock lock(&mu_);
  IssueRead({read});
}

void RocksLogStore::Worker::Trim(Index index) {
  MutexLock lock(&mu_);
  IssueRead({index});
}

void RocksLogStore::Worker::IssueRead(PendingRead read) {
  ++issued_reads_;
  read.writes_before = issued_writes_;
  reads_.push_back(std::move(read));
  reader_work_.Signal();
}

// What removes entries waits for the reads before it: they may want what it cuts.
bool RocksLogStore::Worker::CanWrite() const {
  if (new_base_.has_value()) return true;
  if (writes_.empty()) return false;
  const PendingWrite& first = writes_.front();
  return !Removes(first.write) || first.reads_before <= finished_reads_;
}

RocksLogStore::Worker::Group RocksLogStore::Worker::TakeGroup() {
  Group group;
  group.base.swap(new_base_);
  size_t bytes = 0;
  while (!writes_.empty() && bytes < group_bytes_max_) {
    PendingWrite& next = writes_.front();
    if (Removes(next.write) && (!group.writes.empty() || next.reads_before > finished_reads_)) {
      break;
    }
    bytes += TotalBytes(next.write.entries);
    group.writes.push_back(std::move(next.write));
    writes_.pop_front();
  }
  return group;
}

void RocksLogStore::Worker::RunWriter() {
  while (true) {
    Group group;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && !CanWrite()) writer_work_.Wait(&mu_);
      if (stopping_) return;
      group = TakeGroup();
    }
    const absl::Status status =
        log_->Write(group.writes, group.base.has_value() ? &*group.base : nullptr);
    if (!status.ok()) return Fail(status);
    last_durable_ = log_->last_index().value();
    const uint64_t first_index = log_->base().point.at.index.Next().value();
    {
      MutexLock lock(&mu_);
      finished_writes_ += group.writes.size();
      if (first_index_.exchange(first_index) != first_index) IssueRead({DropFiles{}});
      reader_work_.Signal();
    }
    if (!group.writes.empty()) Complete(Persisted{group.writes.back().id});
  }
}

void RocksLogStore::Worker::RunReader() {
  while (true) {
    PendingRead read;
    {
      MutexLock lock(&mu_);
      while (!stopping_ && (reads_.empty() || reads_.front().writes_before > finished_writes_)) {
        reader_work_.Wait(&mu_);
      }
      if (stopping_) return;
      read = std::move(reads_.front());
      reads_.pop_front();
    }
    const absl::Status status = Perform(read);
    if (!status.ok()) return Fail(status);
    MutexLock lock(&mu_);
    ++finished_reads_;
    writer_work_.Signal();
  }
}

absl::Status RocksLogStore::Worker::Perform(const PendingRead& read) {
  if (const LogRead* entries = std::get_if<LogRead>(&read.what)) {
    absl::StatusOr<std::vector<EntryPtr>> found = log_->Read(entries->first, entries->bytes_max);
    if (!found.ok()) return found.status();
    Complete(LogReadDone{entries->id, std::move(*found)});
    return absl::OkStatus();
  }
  if (const Index* index = std::get_if<Index>(&read.what)) return PrepareTrim(*index);
  return log_->DropTrimmedFiles();
}

// The new base rides on the writer's next batch; only then may entries go. Reads that were issued
// before the trim have been served by now.
absl::Status RocksLogStore::Worker::PrepareTrim(Index index) {
  index = std::min(index, Index(last_durable_.load()));
  if (index <= std::max(trimmed_, log_->base().point.at.index)) return absl::OkStatus();
  absl::StatusOr<LogBase> base = log_->BaseAt(index);
  if (!base.ok()) return base.status();
  trimmed_ = index;
  MutexLock lock(&mu_);
  new_base_ = *std::move(base);
  writer_work_.Signal();
  return absl::OkStatus();
}

void RocksLogStore::Worker::Complete(Event event) {
  MutexLock lock(&post_mu_);
  if (!failed_) sink_->Post(std::move(event));
}

void RocksLogStore::Worker::Fail(const absl::Status& status) {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    writer_work_.SignalAll();
    reader_work_.SignalAll();
  }
  MutexLock lock(&post_mu_);
  if (failed_) return;
  failed_ = true;
  sink_->Post(StorageFailed{status});
}

RocksLogStore::RocksLogStore(std::unique_ptr<Worker> worker) : worker_(std::move(worker)) {}
RocksLogStore::~RocksLogStore() = default;

absl::StatusOr<std::unique_ptr<RocksLogStore>> RocksLogStore::Open(
    const StorageOptions& options, const std::string& data_directory, const Membership& initial) {
  absl::StatusOr<std::unique_ptr<LogDatabase>> log =
      LogDatabase::Open(options, data_directory, initial);
  if (!log.ok()) return log.status();
  return std::unique_ptr<RocksLogStore>(
      new RocksLogStore(std::make_unique<Worker>(options, std::move(*log))));
}

bool RocksLogStore::Exists(const std::string& data_directory) {
  return FileExists(data_directory + "/acknowledged");
}

absl::StatusOr<LogRecovery> RocksLogStore::Recover() { return worker_->Recover(); }
absl::StatusOr<LogPoint> RocksLogStore::PointAt(Index index) const {
  return worker_->PointAt(index);
}
absl::StatusOr<LogRecovery> RocksLogStore::WriteAtOnce(const LogWrite& write) {
  return worker_->WriteAtOnce(write);
}
absl::StatusOr<LogRecovery> RocksLogStore::ForgetLost() { return worker_->ForgetLost(); }
void RocksLogStore::Start(EventSink* sink) { worker_->Start(sink); }
void RocksLogStore::Write(LogWrite write) { worker_->Write(std::move(write)); }
void RocksLogStore::Read(LogRead read) { worker_->Read(read); }
void RocksLogStore::Trim(Index index) { worker_->Trim(index); }
Index RocksLogStore::FirstIndex() const { return worker_->FirstIndex(); }

}  // namespace skein
