// The reading half of the state database.
#include <cstring>

#include "common/checksum.h"
#include "storage/record.h"
#include "storage/state_database.h"
#include "storage/state_keys.h"

namespace skein {
namespace {

std::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// A data key without an allocation for keys of common size.
class DataKey {
 public:
  explicit DataKey(std::string_view user_key) {
    if (user_key.size() < sizeof(small_)) {
      small_[0] = kDataPrefix;
      std::memcpy(small_ + 1, user_key.data(), user_key.size());
      slice_ = rocksdb::Slice(small_, user_key.size() + 1);
    } else {
      SetDataKey(&big_, user_key);
      slice_ = big_;
    }
  }
  DataKey(const DataKey&) = delete;
  DataKey& operator=(const DataKey&) = delete;
  const rocksdb::Slice& slice() const { return slice_; }

 private:
  char small_[256];
  std::string big_;
  rocksdb::Slice slice_;
};

// The first key after all that begin with `prefix`. The prefix has a first byte below 0xff.
std::string EndOfPrefix(std::string prefix) {
  while (static_cast<uint8_t>(prefix.back()) == 0xff) prefix.pop_back();
  prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
  return prefix;
}

struct Bounds {
  std::string lower;  // inclusive
  std::string upper;  // exclusive
};

Bounds BoundsOf(const ScanSpec& spec) {
  Bounds bounds;
  if (!spec.prefix.empty()) {
    SetDataKey(&bounds.lower, spec.prefix);
    bounds.upper = EndOfPrefix(bounds.lower);
    return bounds;
  }
  SetDataKey(&bounds.lower, spec.start);
  if (spec.end.empty()) {
    bounds.upper.assign(1, kDataPrefixEnd);
  } else {
    SetDataKey(&bounds.upper, spec.end);
  }
  return bounds;
}

bool IsWellFormed(std::string_view stored) {
  return stored.size() >= kValueHeaderBytes && stored[0] == '\0';
}

}  // namespace

absl::StatusOr<VersionedValue> KvStateMachine::Database::DecodeValue(
    std::string_view stored) const {
  if (!IsWellFormed(stored)) return Damaged("holds a malformed value");
  return VersionedValue{std::string(stored.substr(kValueHeaderBytes)),
                        Revision(DecodeFixed64(stored.data() + 1))};
}

absl::StatusOr<std::optional<VersionedValue>> KvStateMachine::Database::Get(
    std::string_view key) const {
  static const rocksdb::ReadOptions kOptions;
  const DataKey data_key(key);
  rocksdb::PinnableSlice stored;
  const rocksdb::Status status =
      db_->Get(kOptions, db_->DefaultColumnFamily(), data_key.slice(), &stored);
  if (status.IsNotFound()) return std::optional<VersionedValue>();
  if (!status.ok()) return ReadFailure(status);
  absl::StatusOr<VersionedValue> value = DecodeValue(View(stored));
  if (!value.ok()) return value.status();
  return std::optional<VersionedValue>(std::move(*value));
}

absl::StatusOr<std::vector<std::optional<VersionedValue>>> KvStateMachine::Database::MultiGet(
    const std::vector<std::string_view>& keys) const {
  const size_t n = keys.size();
  std::vector<std::string> data_keys(n);
  std::vector<rocksdb::Slice> slices(n);
  for (size_t i = 0; i < n; ++i) {
    SetDataKey(&data_keys[i], keys[i]);
    slices[i] = data_keys[i];
  }
  std::vector<rocksdb::PinnableSlice> stored(n);
  std::vector<rocksdb::Status> statuses(n);
  std::vector<std::optional<VersionedValue>> values(n);
  // Reads all keys of one column family as of one moment.
  db_->MultiGet(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), n, slices.data(), stored.data(),
                statuses.data());
  for (size_t i = 0; i < n; ++i) {
    if (statuses[i].IsNotFound()) continue;
    if (!statuses[i].ok()) return ReadFailure(statuses[i]);
    absl::StatusOr<VersionedValue> value = DecodeValue(View(stored[i]));
    if (!value.ok()) return value.status();
    values[i] = std::move(*value);
  }
  return values;
}

absl::StatusOr<uint64_t> KvStateMachine::Database::Scan(
    const ScanSpec& spec, const std::function<bool(const KeyValueView&)>& visit) const {
  const Bounds bounds = BoundsOf(spec);
  if (bounds.lower >= bounds.upper) return uint64_t{0};
  const rocksdb::Slice lower(bounds.lower);
  const rocksdb::Slice upper(bounds.upper);
  rocksdb::ReadOptions options;
  options.iterate_lower_bound = &lower;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  uint64_t shown = 0;
  for (spec.reverse ? it->SeekToLast() : it->SeekToFirst(); it->Valid();
       spec.reverse ? it->Prev() : it->Next()) {
    const std::string_view stored = View(it->value());
    if (!IsWellFormed(stored)) return Damaged("holds a malformed value");
    KeyValueView pair{.key = View(it->key()).substr(1),
                      .version = Revision(DecodeFixed64(stored.data() + 1))};
    if (!spec.keys_only) pair.value = stored.substr(kValueHeaderBytes);
    ++shown;
    if (!visit(pair) || shown == spec.limit) break;
  }
  if (!it->status().ok()) return ReadFailure(it->status());
  return shown;
}

absl::StatusOr<uint64_t> KvStateMachine::Database::Digest() const {
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(rocksdb::ReadOptions()));
  uint64_t digest = 0;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::string_view key = View(it->key());
    std::string_view value = View(it->value());
    if (key == kInstalledKey) continue;
    if (key == kMetaKey) {
      const std::optional<std::string_view> payload = OpenRecord(value);
      if (!payload.has_value()) return Damaged("has a damaged applied position");
      Decoder decoder(*payload);
      digest = ChainHash(digest, TakeLogPoint(&decoder).revision.value());
      continue;
    }
    digest = ChainHash(ChainHash(digest, Checksum64(key)), Checksum64(value));
  }
  if (!it->status().ok()) return ReadFailure(it->status());
  return digest;
}

}  // namespace skein
