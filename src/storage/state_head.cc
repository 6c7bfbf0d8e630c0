#include "storage/state_head.h"

#include <memory>

#include "rocksdb/db.h"
#include "storage/damage.h"
#include "storage/record.h"
#include "storage/state_keys.h"

namespace skein {
namespace {

// A state from before the membership was part of it has none.
bool DecodeStateMeta(std::string_view record, StateHead* head) {
  const std::optional<std::string_view> payload = OpenRecord(record);
  if (!payload.has_value()) return false;
  Decoder decoder(*payload);
  head->applied = TakeLogPoint(&decoder);
  head->cluster_time_ms = decoder.Fixed64();
  return decoder.ok() && (decoder.empty() || DecodeMembership(decoder.rest(), &head->membership));
}

}  // namespace

std::string EncodeStateMeta(const StateHead& head) {
  std::string payload;
  PutLogPoint(&payload, head.applied);
  PutFixed64(&payload, head.cluster_time_ms);
  payload += EncodeMembership(head.membership);
  return SealRecord(payload);
}

absl::StatusOr<StateHead> ReadStateHead(rocksdb::DB* db, const std::string& what,
                                        const std::string& hint) {
  StateHead head;
  std::string value;
  rocksdb::Status status = db->Get(rocksdb::ReadOptions(), kMetaKey, &value);
  if (status.IsNotFound()) {
    const std::unique_ptr<rocksdb::Iterator> it(db->NewIterator(rocksdb::ReadOptions()));
    it->SeekToFirst();
    if (!it->status().ok()) return FromRocksStatus(it->status(), "cannot read the " + what, hint);
    if (!it->Valid()) return head;
    return DamagedData(what + " holds data but not its applied position", hint);
  }
  if (!status.ok()) return FromRocksStatus(status, "cannot read the " + what, hint);
  if (!DecodeStateMeta(value, &head)) {
    return DamagedData(what + " has a damaged applied position", hint);
  }
  status = db->Get(rocksdb::ReadOptions(), kInstalledKey, &value);
  if (status.IsNotFound()) return head;
  if (!status.ok()) return FromRocksStatus(status, "cannot read the " + what, hint);
  head.installed = OpenLogBase(value);
  if (!head.installed.has_value()) {
    return DamagedData(what + " has a damaged record of the snapshot that it began with", hint);
  }
  return head;
}

}  // namespace skein
