// Builds chains of entries for tests.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "replication/command.h"
#include "replication/core/entry.h"

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

inline std::vector<LogPoint> PointsOf(const std::vector<EntryPtr>& entries) {
  std::vector<LogPoint> points;
  for (const EntryPtr& entry : entries) points.push_back(entry->point());
  return points;
}

}  // namespace skein
