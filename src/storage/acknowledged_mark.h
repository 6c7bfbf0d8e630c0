// The acknowledged mark: how far this node's log has once been durable, and whom it voted for, kept
// outside the log. A log that recovers shorter than the mark was damaged: RocksDB cuts its
// write-ahead log silently at the first bad record, and only the mark tells a torn tail, which
// nobody relied on, from a flipped bit amid acknowledged entries.
//
// Owned by one thread. Invariants:
//  1. Never ahead of the durable log, at no moment and after no crash.
//  2. Survives the death of the process; after a loss of power it may be older than the log.
// Format: docs/disk_format.md.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/types.h"

namespace skein {

class AcknowledgedMark {
 public:
  struct Value {
    Position at;         // the last durable entry
    uint64_t chain = 0;  // its chain hash
    Term term;           // of the durable hard state
    NodeId vote;         // of the durable hard state

    friend bool operator==(const Value&, const Value&) = default;
  };

  // Makes a new file that says "nothing". Durable when it returns.
  static absl::Status Create(const std::string& path);

  // kDataLoss if no slot is valid; kNotFound if there is no file.
  static absl::StatusOr<std::unique_ptr<AcknowledgedMark>> Open(const std::string& path);

  ~AcknowledgedMark();
  AcknowledgedMark(const AcknowledgedMark&) = delete;
  AcknowledgedMark& operator=(const AcknowledgedMark&) = delete;

  const Value& value() const { return value_; }

  // To be called when the log is durable up to `value`. Not synced: a page write, microseconds.
  absl::Status Raise(const Value& value);

  // To be called before the log is truncated or reset. Durable when it returns, in both slots, so
  // that no crash can bring the higher mark back.
  absl::Status Lower(const Value& value);

 private:
  AcknowledgedMark(std::string path, int fd, uint64_t sequence, const Value& value)
      : path_(std::move(path)), fd_(fd), sequence_(sequence), value_(value) {}

  absl::Status WriteSlot(const Value& value);

  const std::string path_;
  const int fd_;
  uint64_t sequence_;  // of the newest slot; its parity is the slot's place
  Value value_;
};

}  // namespace skein
