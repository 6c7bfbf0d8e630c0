#include "tests/integration/torture_checks.h"

#include <algorithm>
#include <set>
#include <unordered_map>

#include "tests/support/linearizability.h"

namespace skein {
namespace {

constexpr size_t kComplaintsMax = 5;
constexpr size_t kValueShown = 40;

bool IsWrite(const OpRecord& record) {
  return record.kind == OpKind::kPut || record.kind == OpKind::kDelete;
}
bool Acknowledged(const OpRecord& record) {
  return IsWrite(record) && record.outcome == OpOutcome::kOk;
}

// Complaints of one sort: the first few, and how many there are.
class Complaints {
 public:
  void Add(std::string text) {
    if (texts_.size() < kComplaintsMax) texts_.push_back(std::move(text));
    ++count_;
  }
  std::vector<std::string> Take() {
    if (count_ > texts_.size()) {
      texts_.push_back("and " + std::to_string(count_ - texts_.size()) + " more of this sort");
    }
    return std::move(texts_);
  }

 private:
  std::vector<std::string> texts_;
  size_t count_ = 0;
};

// The writes to one key that had or may have had an effect.
struct KeyWrites {
  std::map<uint64_t, const OpRecord*> acknowledged;  // by revision
  std::vector<const OpRecord*> unknown_deletes;
};

// The writes of a run, to be asked about.
class Writes {
 public:
  explicit Writes(const std::vector<OpRecord>& records) {
    for (const OpRecord& record : records) {
      if (!IsWrite(record)) continue;
      if (record.kind == OpKind::kPut) puts_[record.value] = &record;
      KeyWrites& key = keys_[record.key];
      if (record.outcome == OpOutcome::kOk) {
        key.acknowledged[record.revision] = &record;
        ends_.emplace_back(record.end_us, record.revision);
      } else if (record.outcome == OpOutcome::kUnknown && record.kind == OpKind::kDelete) {
        key.unknown_deletes.push_back(&record);
      }
    }
    std::sort(ends_.begin(), ends_.end());
    for (size_t i = 1; i < ends_.size(); ++i) {
      ends_[i].second = std::max(ends_[i].second, ends_[i - 1].second);
    }
  }

  const OpRecord* PutOf(const std::string& value) const {
    const auto found = puts_.find(value);
    return found == puts_.end() ? nullptr : found->second;
  }
  const KeyWrites& Of(const std::string& key) const {
    static const KeyWrites kNone;
    const auto found = keys_.find(key);
    return found == keys_.end() ? kNone : found->second;
  }
  const std::map<std::string, KeyWrites>& keys() const { return keys_; }
  // The highest revision that was acknowledged before this time, under any key.
  uint64_t AcknowledgedBefore(uint64_t us) const {
    const auto after = std::lower_bound(ends_.begin(), ends_.end(), std::pair(us, uint64_t{0}));
    return after == ends_.begin() ? 0 : std::prev(after)->second;
  }

 private:
  std::unordered_map<std::string, const OpRecord*> puts_;  // by value
  std::map<std::string, KeyWrites> keys_;
  std::vector<std::pair<uint64_t, uint64_t>> ends_;  // time, highest revision up to then
};

// The last acknowledged write to a key up to a revision; nullptr: there is none.
const OpRecord* LastUpTo(const KeyWrites& writes, uint64_t revision) {
  const auto after = writes.acknowledged.upper_bound(revision);
  return after == writes.acknowledged.begin() ? nullptr : std::prev(after)->second;
}

// Why a state that includes all revisions up to `floor` cannot show this; empty: it can.
// `until_us`: what began later explains nothing.
std::string WhyImpossible(const KeyWrites& writes, uint64_t floor, bool found, uint64_t version,
                          uint64_t until_us) {
  const OpRecord* last = LastUpTo(writes, floor);
  if (last == nullptr) return "";
  if (found) {
    const bool deleted = last->kind == OpKind::kDelete && version == last->revision;
    if (version >= last->revision && !deleted) return "";
    return "is older than " + Describe(*last);
  }
  if (last->kind == OpKind::kDelete) return "";
  for (auto later = writes.acknowledged.upper_bound(floor); later != writes.acknowledged.end();
       ++later) {
    const OpRecord& write = *later->second;
    if (write.kind == OpKind::kDelete && write.begin_us <= until_us) return "";
  }
  for (const OpRecord* write : writes.unknown_deletes) {
    if (write->begin_us <= until_us) return "";
  }
  return "lacks " + Describe(*last);
}

// Why this key cannot hold this value at this version; empty: it can.
std::string WhyForeign(const Writes& writes, const std::string& key, const std::string& value,
                       uint64_t version) {
  const OpRecord* put = writes.PutOf(value);
  if (put == nullptr || put->key != key) return "was never written there";
  if (put->outcome == OpOutcome::kRefused) return "was refused: " + Describe(*put);
  if (put->outcome == OpOutcome::kOk && put->revision != version) {
    return "has version " + std::to_string(version) + ", but was written by " + Describe(*put);
  }
  return "";
}

uint64_t FloorOf(const OpRecord& read, const Writes& writes) {
  switch (read.kind) {
    case OpKind::kGetOwn:
      return read.at_least;
    case OpKind::kGetLinearizable:
      return writes.AcknowledgedBefore(read.begin_us);
    case OpKind::kGetBounded:
      return read.begin_us < read.bound_us
                 ? 0
                 : writes.AcknowledgedBefore(read.begin_us - read.bound_us);
    case OpKind::kPut:
    case OpKind::kDelete:
    case OpKind::kGetAny:
      return 0;
  }
  return 0;
}

std::vector<HistoryOp> HistoryOf(const std::vector<const OpRecord*>& records) {
  std::vector<HistoryOp> history;
  for (const OpRecord* record : records) {
    HistoryOp op;
    op.kind = record->kind == OpKind::kPut      ? HistoryOp::Kind::kPut
              : record->kind == OpKind::kDelete ? HistoryOp::Kind::kDelete
                                                : HistoryOp::Kind::kGet;
    op.value = record->value;
    op.found = record->found;
    op.begin_us = record->begin_us;
    op.end_us = record->outcome == OpOutcome::kOk ? record->end_us : HistoryOp::kNever;
    op.version = record->revision;
    op.who = record->who;
    history.push_back(std::move(op));
  }
  return history;
}

}  // namespace

const char* NameOf(OpKind kind) {
  static constexpr const char* kNames[kOpKinds] = {
      "put", "delete", "get any", "get own writes", "get bounded", "get linearizable"};
  return kNames[static_cast<int>(kind)];
}

const char* NameOf(OpOutcome outcome) {
  static constexpr const char* kNames[kOpOutcomes] = {"ok", "refused", "unknown"};
  return kNames[static_cast<int>(outcome)];
}

std::string Describe(const OpRecord& record) {
  std::string text = record.who + " " + NameOf(record.kind) + " " + record.key;
  if (record.kind == OpKind::kPut || record.found) {
    text += " '" + record.value.substr(0, kValueShown) + "'";
  } else if (!IsWrite(record)) {
    text += " (nothing)";
  }
  text += std::string(" ") + NameOf(record.outcome);
  if (record.revision != 0) text += " revision " + std::to_string(record.revision);
  if (!record.node.empty()) {
    text += " from " + record.node + " at " + std::to_string(record.applied);
  }
  text += " [" + std::to_string(record.begin_us) + ", " + std::to_string(record.end_us) + "]";
  return record.error.empty() ? text : text + " " + record.error;
}

std::vector<std::string> CheckRevisions(const std::vector<OpRecord>& records) {
  Complaints complaints;
  const Writes writes(records);
  std::map<uint64_t, const OpRecord*> by_revision;
  for (const OpRecord& record : records) {
    if (!Acknowledged(record)) continue;
    const auto [other, first] = by_revision.emplace(record.revision, &record);
    if (!first) {
      complaints.Add("one revision for two writes: " + Describe(*other->second) + " and " +
                     Describe(record));
    }
    const uint64_t before = writes.AcknowledgedBefore(record.begin_us);
    if (record.revision <= before) {
      complaints.Add("revisions go back: " + Describe(record) + " began after revision " +
                     std::to_string(before) + " was acknowledged");
    }
  }
  return complaints.Take();
}

std::vector<std::string> CheckContents(const std::vector<OpRecord>& records,
                                       const std::vector<NodeContents>& nodes) {
  Complaints complaints;
  const Writes writes(records);
  for (const NodeContents& node : nodes) {
    for (const auto& [key, item] : node.keys) {
      const std::string why = WhyForeign(writes, key, item.first, item.second);
      if (why.empty()) continue;
      complaints.Add(node.node + ": " + key + " = '" + item.first.substr(0, kValueShown) + "' " +
                     why);
    }
    for (const auto& [key, of_key] : writes.keys()) {
      const auto item = node.keys.find(key);
      const bool found = item != node.keys.end();
      const std::string why =
          WhyImpossible(of_key, UINT64_MAX, found, found ? item->second.second : 0, UINT64_MAX);
      if (!why.empty()) complaints.Add(node.node + ": what it holds of " + key + " " + why);
    }
    if (node.keys != nodes.front().keys) {
      complaints.Add(nodes.front().node + " and " + node.node + " hold different data");
    }
  }
  return complaints.Take();
}

std::vector<std::string> CheckReads(const std::vector<OpRecord>& records) {
  Complaints complaints;
  const Writes writes(records);
  std::map<std::string, uint64_t> versions;  // by value
  for (const OpRecord& read : records) {
    if (IsWrite(read) || read.outcome != OpOutcome::kOk) continue;
    if (read.found) {
      std::string why = WhyForeign(writes, read.key, read.value, read.revision);
      if (why.empty() && writes.PutOf(read.value)->begin_us > read.end_us) {
        why = "was read before it was written";
      }
      if (!why.empty()) complaints.Add(Describe(read) + ": the value " + why);
      const auto [version, first] = versions.emplace(read.value, read.revision);
      if (!first && version->second != read.revision) {
        complaints.Add("applied twice: " + Describe(read) + " was read at version " +
                       std::to_string(version->second) + " too");
      }
    }
    const uint64_t floor = FloorOf(read, writes);
    if (read.kind != OpKind::kGetAny && read.applied < floor) {
      complaints.Add("stale: " + Describe(read) + " should have seen revision " +
                     std::to_string(floor));
    }
    const std::string why =
        WhyImpossible(writes.Of(read.key), floor, read.found, read.revision, read.end_us);
    if (!why.empty()) complaints.Add("stale: " + Describe(read) + " " + why);
  }
  return complaints.Take();
}

std::vector<std::string> CheckHistories(const std::vector<OpRecord>& records,
                                        const KeysOfNode& contents) {
  Complaints complaints;
  std::map<std::string, std::vector<const OpRecord*>> keys;
  uint64_t end_us = 0;
  for (const OpRecord& record : records) {
    if (record.outcome != OpOutcome::kUnknown) end_us = std::max(end_us, record.end_us);
    const bool counts = record.kind == OpKind::kGetLinearizable
                            ? record.outcome == OpOutcome::kOk
                            : IsWrite(record) && record.outcome != OpOutcome::kRefused;
    if (counts) keys[record.key].push_back(&record);
  }
  for (const auto& [key, of_key] : keys) {
    OpRecord last;
    last.kind = OpKind::kGetLinearizable;
    last.key = key;
    last.who = "what it held in the end";
    last.begin_us = last.end_us = end_us + 1;
    if (const auto item = contents.find(key); item != contents.end()) {
      last.found = true;
      last.value = item->second.first;
      last.revision = item->second.second;
    }
    std::vector<HistoryOp> history = HistoryOf(of_key);
    history.push_back(HistoryOf({&last}).front());
    const std::string trouble = CheckLinearizable(std::move(history));
    if (!trouble.empty()) complaints.Add("not linearizable: " + key + ": " + trouble);
  }
  return complaints.Take();
}

std::vector<std::string> CheckEverything(const std::vector<OpRecord>& records,
                                         const std::vector<NodeContents>& nodes) {
  std::vector<std::string> all = CheckRevisions(records);
  const KeysOfNode contents = nodes.empty() ? KeysOfNode() : nodes.front().keys;
  for (const auto& found :
       {CheckContents(records, nodes), CheckReads(records), CheckHistories(records, contents)}) {
    all.insert(all.end(), found.begin(), found.end());
  }
  return all;
}

}  // namespace skein
