// Builds chains of entries for tests.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "replication/command.h"
#include "replication/core/entry.h"
#include "replication/core/membership.h"

namespace skein {

// Appends to a chain: each entry follows the one before it.
class EntryChain {
 public:
  EntryChain() = default;
  explicit EntryChain(const LogPoint& after) : last_(after) {}

  const LogPoint& last() const { return last_; }

  EntryPtr NoOp(Term term) { return Add(Entry::Build(last_, term, EntryType::kNoOp, 0, 0, "")); }
  EntryPtr Put(Term term, const std::string& key, const std::string& value) {
    std::string batch;
    AppendPut(&batch, key, value);
    return Commands(term, 1, batch);
  }
  EntryPtr Delete(Term term, const std::string& key) {
    std::string batch;
    AppendDelete(&batch, key);
    return Commands(term, 1, batch);
  }
  EntryPtr Commands(Term term, uint32_t count, const std::string& batch) {
    return Add(Entry::Build(last_, term, EntryType::kCommands, count, 0, batch));
  }
  EntryPtr Change(Term term, const Membership& membership) {
    return Add(
        Entry::Build(last_, term, EntryType::kMembership, 0, 0, EncodeMembership(membership)));
  }
  // So many puts, one per entry, of values of so many bytes.
  std::vector<EntryPtr> Puts(Term term, int count, size_t value_bytes = 10) {
    std::vector<EntryPtr> entries;
    for (int i = 0; i < count; ++i) {
      const std::string number = std::to_string(last_.at.index.value() + 1);
      entries.push_back(Put(term, "key" + number, std::string(value_bytes, 'a' + i % 26)));
    }
    return entries;
  }

 private:
  EntryPtr Add(EntryPtr entry) {
    last_ = entry->point();
    return entry;
  }

  LogPoint last_;
};

// Voters with these names.
inline Membership MembersNamed(const std::vector<std::string>& names) {
  Membership membership;
  for (const std::string& name : names) {
    membership.members.push_back({.id = NodeIdOf(name), .name = name, .address = name + ":7411"});
  }
  std::sort(membership.members.begin(), membership.members.end(),
            [](const Member& a, const Member& b) { return a.id < b.id; });
  return membership;
}

inline std::vector<LogPoint> PointsOf(const std::vector<EntryPtr>& entries) {
  std::vector<LogPoint> points;
  for (const EntryPtr& entry : entries) points.push_back(entry->point());
  return points;
}

}  // namespace skein
