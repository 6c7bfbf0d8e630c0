#include "storage/trim_filter.h"

#include <string>

#include "storage/log_keys.h"

namespace skein {
namespace {

class TrimFilter final : public rocksdb::CompactionFilter {
 public:
  explicit TrimFilter(Index first) : first_key_(EntryKey(first)) {}

  Decision FilterV2(int /*level*/, const rocksdb::Slice& key, ValueType /*type*/,
                    const rocksdb::Slice& /*value*/, std::string* /*new_value*/,
                    std::string* skip_until) const override {
    if (!IsEntryKey({key.data(), key.size()}) || key.compare(first_key_) >= 0) {
      return Decision::kKeep;
    }
    *skip_until = first_key_;
    return Decision::kRemoveAndSkipUntil;
  }
  const char* Name() const override { return "skein.TrimFilter"; }

 private:
  const std::string first_key_;
};

}  // namespace

bool TrimFilterFactory::ShouldFilterTableFileCreation(
    rocksdb::TableFileCreationReason reason) const {
  return reason == rocksdb::TableFileCreationReason::kFlush ||
         reason == rocksdb::TableFileCreationReason::kCompaction;
}

std::unique_ptr<rocksdb::CompactionFilter> TrimFilterFactory::CreateCompactionFilter(
    const rocksdb::CompactionFilter::Context& /*context*/) {
  const Index first(first_.load(std::memory_order_acquire));
  if (first <= Index(1)) return nullptr;
  return std::make_unique<TrimFilter>(first);
}

}  // namespace skein
