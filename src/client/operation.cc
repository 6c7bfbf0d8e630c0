#include "client/operation.h"

#include <algorithm>

#include "common/check.h"

namespace skein::client {

uint64_t OperationTable::Add(std::unique_ptr<Operation> operation) {
  size_t index = entries_.size();
  if (free_.empty()) {
    SKEIN_CHECK(index < kIndexMask);
    entries_.emplace_back();
    wake_us_.push_back(kNever);
  } else {
    index = free_.back();
    free_.pop_back();
  }
  Entry& entry = entries_[index];
  entry.operation = std::move(operation);
  ++entry.attempt;
  return IdAt(index);
}

Operation* OperationTable::Find(uint64_t id) {
  const size_t index = id & kIndexMask;
  if (index >= entries_.size() || entries_[index].attempt != id >> kIndexBits) return nullptr;
  return entries_[index].operation.get();
}

uint64_t OperationTable::Rename(uint64_t id) {
  SKEIN_CHECK(Find(id) != nullptr);
  const size_t index = id & kIndexMask;
  ++entries_[index].attempt;
  return IdAt(index);
}

std::unique_ptr<Operation> OperationTable::Release(uint64_t id) {
  SKEIN_CHECK(Find(id) != nullptr);
  const size_t index = id & kIndexMask;
  std::unique_ptr<Operation> operation = std::move(entries_[index].operation);
  ++entries_[index].attempt;
  wake_us_[index] = kNever;
  free_.push_back(static_cast<uint32_t>(index));
  return operation;
}

void OperationTable::Due(uint64_t now_us, std::vector<uint64_t>* ids) {
  earliest_us_ = kNever;
  for (size_t i = 0; i < wake_us_.size(); ++i) {
    if (wake_us_[i] <= now_us) ids->push_back(IdAt(i));
    earliest_us_ = std::min(earliest_us_, wake_us_[i]);
  }
}

}  // namespace skein::client
