// The calls that are under way, and what is known of each. Owned by the dispatcher's thread.
//
// Invariants of OperationTable.
//  1. An id names one attempt of one call: after Rename or Release the old id finds nothing, so a
//     late answer to an attempt that was given up is recognised and dropped.
//  2. Only entries in use have a wake-up time.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "client/call_plan.h"
#include "skein/client.h"

namespace skein::client {

enum class OperationState : uint8_t {
  kNew,      // not yet routed
  kQueued,   // in a node's outbox
  kSent,     // handed to the wire
  kWaiting,  // for its next attempt
};

struct Operation {
  std::string key;   // of a get, for its result
  std::string body;  // the request without its id, as it travels; see codec.h
  CallPlan plan;
  ReadPolicy policy = ReadPolicy::kFollowers;  // of a read
  OperationState state = OperationState::kNew;
  uint32_t attempts = 0;
  size_t slot = 0;  // kQueued, kSent: the node
  std::variant<std::monostate, Client::Callback<GetResult>, Client::Callback<BatchGetResult>,
               Client::Callback<PutResult>, Client::Callback<DeleteResult>>
      done;
};

class OperationTable {
 public:
  static constexpr uint64_t kNever = std::numeric_limits<uint64_t>::max();

  // Takes over the call; the id is that of its first attempt.
  uint64_t Add(std::unique_ptr<Operation> operation);
  // Nullptr: no such attempt is under way.
  Operation* Find(uint64_t id);
  // Begins a new attempt; the old id is void.
  uint64_t Rename(uint64_t id);
  std::unique_ptr<Operation> Release(uint64_t id);

  void SetWake(uint64_t id, uint64_t wake_us) {
    wake_us_[id & kIndexMask] = wake_us;
    if (wake_us < earliest_us_) earliest_us_ = wake_us;
  }
  // Appends the ids of all whose wake-up time has come.
  void Due(uint64_t now_us, std::vector<uint64_t>* ids);
  // No wake-up time is before this one.
  uint64_t earliest_us() const { return earliest_us_; }
  // Appends the ids of all for which `predicate(operation)` holds.
  template <typename Predicate>
  void Collect(const Predicate& predicate, std::vector<uint64_t>* ids) const {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].operation && predicate(*entries_[i].operation)) ids->push_back(IdAt(i));
    }
  }

 private:
  static constexpr int kIndexBits = 24;
  static constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;

  struct Entry {
    std::unique_ptr<Operation> operation;
    uint64_t attempt = 0;
  };

  uint64_t IdAt(size_t index) const { return entries_[index].attempt << kIndexBits | index; }

  std::vector<Entry> entries_;
  std::vector<uint64_t> wake_us_;  // by index; apart from the entries, so that sweeping is cheap
  std::vector<uint32_t> free_;
  uint64_t earliest_us_ = kNever;
};

}  // namespace skein::client
