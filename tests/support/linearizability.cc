#include "tests/support/linearizability.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <unordered_set>
#include <utility>

namespace skein {
namespace {

using Kind = HistoryOp::Kind;

constexpr int kNobody = -1;

// What the key holds: the put that wrote it, and the newest revision that is known of it.
struct Register {
  int put = kNobody;
  uint64_t version = 0;
  size_t deletes_used = 0;  // of those of unknown outcome
};

// An invocation or a response, in a doubly linked list by time: Wing and Gong's "history".
struct Event {
  int op = 0;
  bool is_return = false;
  int match = 0;  // the other event of the operation
  int previous = 0;
  int next = 0;
};

std::string Describe(const HistoryOp& op) {
  std::string text = op.who.empty() ? "" : op.who + ": ";
  switch (op.kind) {
    case Kind::kPut:
      text += "put " + op.value;
      break;
    case Kind::kDelete:
      text += "delete";
      break;
    case Kind::kGet:
      text += op.found ? "get found " + op.value : "get found nothing";
      break;
  }
  if (op.version != 0) text += " revision " + std::to_string(op.version);
  text += " [" + std::to_string(op.begin_us) + ", ";
  return text + (op.end_us == HistoryOp::kNever ? "unknown]" : std::to_string(op.end_us) + "]");
}

// A put of unknown outcome that nobody saw explains nothing, and a get without answer says nothing.
void DropWhatSaysNothing(std::vector<HistoryOp>* history) {
  std::set<std::string> seen;
  for (const HistoryOp& op : *history) {
    if (op.kind == Kind::kGet && op.found && op.end_us != HistoryOp::kNever) seen.insert(op.value);
  }
  std::erase_if(*history, [&seen](const HistoryOp& op) {
    if (op.end_us != HistoryOp::kNever) return false;
    return op.kind == Kind::kGet || (op.kind == Kind::kPut && seen.count(op.value) == 0);
  });
}

// Deletes of unknown outcome, by the time of their invocation. Each may take effect at any later
// time or never, so it is enough to try it where a reader found nothing; and of two that were both
// invoked by then, either will do.
std::vector<uint64_t> TakeUnknownDeletes(std::vector<HistoryOp>* history) {
  std::vector<uint64_t> begins;
  std::erase_if(*history, [&begins](const HistoryOp& op) {
    if (op.kind != Kind::kDelete || op.end_us != HistoryOp::kNever) return false;
    begins.push_back(op.begin_us);
    return true;
  });
  std::sort(begins.begin(), begins.end());
  return begins;
}

// A put of unknown outcome that somebody saw with its revision has that revision.
void InferVersions(std::vector<HistoryOp>* history) {
  std::map<std::string, uint64_t> seen;
  for (const HistoryOp& op : *history) {
    if (op.kind == Kind::kGet && op.found) seen.emplace(op.value, op.version);
  }
  for (HistoryOp& op : *history) {
    if (op.kind != Kind::kPut || op.version != 0) continue;
    const auto it = seen.find(op.value);
    if (it != seen.end()) op.version = it->second;
  }
}

class Search {
 public:
  explicit Search(std::vector<HistoryOp> history)
      : unknown_deletes_(TakeUnknownDeletes(&history)), ops_(std::move(history)) {
    LinkEvents();
    OrderByVersion();
    done_.assign((ops_.size() + 63) / 64, 0);
    for (const HistoryOp& op : ops_) answered_ += op.end_us != HistoryOp::kNever ? 1 : 0;
  }

  std::string Run(uint64_t steps_max);

 private:
  struct Frame {
    int call;  // the event of the operation that was linearized
    Register before;
  };

  void LinkEvents();
  void OrderByVersion();
  bool IsOrdered(int op) const { return ops_[op].kind != Kind::kGet && ops_[op].version != 0; }
  bool MayDelete() const;
  std::optional<Register> Apply(int op) const;
  bool Remember(const Register& now);
  void Linearize(int call, const Register& now);
  int Undo();
  void Unlink(int event) {
    events_[events_[event].previous].next = events_[event].next;
    events_[events_[event].next].previous = events_[event].previous;
  }
  void Relink(int event) {
    events_[events_[event].previous].next = event;
    events_[events_[event].next].previous = event;
  }
  void NoteStuck(int op);
  std::string Failure() const;

  const std::vector<uint64_t> unknown_deletes_;
  std::vector<HistoryOp> ops_;
  std::vector<Event> events_;  // 0 is the head and the end of the list
  std::vector<uint64_t> done_;
  std::unordered_set<std::string> tried_;
  std::vector<Frame> stack_;
  Register register_;
  // Writes of known revision, which rise in the order found, and how many of them are placed.
  std::vector<int> by_version_;
  size_t by_version_done_ = 0;
  size_t answered_ = 0;       // operations that must be linearized
  size_t answered_done_ = 0;  // of them, in `stack_`

  size_t longest_ = 0;
  int stuck_ = kNobody;
  std::vector<int> longest_run_;
};

void Search::LinkEvents() {
  struct Instant {
    uint64_t us;
    bool is_return;
    int op;
  };
  std::vector<Instant> instants;
  for (size_t i = 0; i < ops_.size(); ++i) {
    instants.push_back({ops_[i].begin_us, false, static_cast<int>(i)});
    instants.push_back({ops_[i].end_us, true, static_cast<int>(i)});
  }
  // Invocations first: what happens at the same time is concurrent.
  std::stable_sort(instants.begin(), instants.end(), [](const Instant& a, const Instant& b) {
    return std::pair(a.us, a.is_return) < std::pair(b.us, b.is_return);
  });
  events_.resize(instants.size() + 1);
  std::vector<int> calls(ops_.size());
  const int count = static_cast<int>(events_.size());
  for (int i = 0; i < count; ++i) {
    events_[i].previous = (i + count - 1) % count;
    events_[i].next = (i + 1) % count;
    if (i == 0) continue;
    const Instant& instant = instants[i - 1];
    events_[i].op = instant.op;
    events_[i].is_return = instant.is_return;
    if (!instant.is_return) {
      calls[instant.op] = i;
    } else {
      events_[i].match = calls[instant.op];
      events_[calls[instant.op]].match = i;
    }
  }
}

void Search::OrderByVersion() {
  for (int i = 0; i < static_cast<int>(ops_.size()); ++i) {
    if (IsOrdered(i)) by_version_.push_back(i);
  }
  std::stable_sort(by_version_.begin(), by_version_.end(),
                   [this](int a, int b) { return ops_[a].version < ops_[b].version; });
}

// A delete of unknown outcome that is not used yet was invoked before anything must have ended.
bool Search::MayDelete() const {
  if (register_.deletes_used >= unknown_deletes_.size()) return false;
  int event = events_[0].next;
  while (event != 0 && !events_[event].is_return) event = events_[event].next;
  if (event == 0) return true;
  return unknown_deletes_[register_.deletes_used] <= ops_[events_[event].op].end_us;
}

// What the register holds after the operation, if it can come next.
std::optional<Register> Search::Apply(int index) const {
  const HistoryOp& op = ops_[index];
  Register next = register_;
  switch (op.kind) {
    case Kind::kPut:
    case Kind::kDelete:
      if (IsOrdered(index) && by_version_[by_version_done_] != index) return std::nullopt;
      if (op.version != 0 && op.version <= register_.version) return std::nullopt;
      next.put = op.kind == Kind::kPut ? index : kNobody;
      next.version = std::max(op.version, register_.version);
      return next;
    case Kind::kGet:
      if (!op.found) {
        if (register_.put == kNobody) return next;
        if (!MayDelete()) return std::nullopt;
        next.put = kNobody;
        ++next.deletes_used;
        return next;
      }
      if (register_.put == kNobody || ops_[register_.put].value != op.value) return std::nullopt;
      if (op.version == 0) return next;
      if (ops_[register_.put].version != 0 && op.version != ops_[register_.put].version) {
        return std::nullopt;
      }
      if (op.version < register_.version) return std::nullopt;
      next.version = op.version;
      return next;
  }
  return std::nullopt;
}

// False if this set of operations with this outcome was tried before.
bool Search::Remember(const Register& now) {
  std::string key(reinterpret_cast<const char*>(done_.data()), done_.size() * sizeof(done_[0]));
  key.append(reinterpret_cast<const char*>(&now.put), sizeof(now.put));
  key.append(reinterpret_cast<const char*>(&now.version), sizeof(now.version));
  key.append(reinterpret_cast<const char*>(&now.deletes_used), sizeof(now.deletes_used));
  return tried_.insert(std::move(key)).second;
}

void Search::Linearize(int call, const Register& now) {
  stack_.push_back({call, register_});
  register_ = now;
  if (ops_[events_[call].op].end_us != HistoryOp::kNever) ++answered_done_;
  if (IsOrdered(events_[call].op)) ++by_version_done_;
  Unlink(call);
  Unlink(events_[call].match);
}

// Takes the last linearized operation back; returns the event after its invocation.
int Search::Undo() {
  const Frame frame = stack_.back();
  stack_.pop_back();
  const int op = events_[frame.call].op;
  done_[op / 64] &= ~(uint64_t{1} << (op % 64));
  if (ops_[op].end_us != HistoryOp::kNever) --answered_done_;
  if (IsOrdered(op)) --by_version_done_;
  register_ = frame.before;
  Relink(events_[frame.call].match);
  Relink(frame.call);
  return events_[frame.call].next;
}

void Search::NoteStuck(int op) {
  if (stuck_ != kNobody && stack_.size() < longest_) return;
  longest_ = stack_.size();
  stuck_ = op;
  longest_run_.clear();
  for (const Frame& frame : stack_) longest_run_.push_back(events_[frame.call].op);
}

std::string Search::Failure() const {
  constexpr size_t kShown = 12;
  std::string text = "not linearizable: nothing explains\n  " + Describe(ops_[stuck_]) +
                     "\nafter the longest run that could be placed (" + std::to_string(longest_) +
                     " operations), which ends with\n";
  const size_t first = longest_run_.size() > kShown ? longest_run_.size() - kShown : 0;
  for (size_t i = first; i < longest_run_.size(); ++i) {
    text += "  " + Describe(ops_[longest_run_[i]]) + "\n";
  }
  return text;
}

std::string Search::Run(uint64_t steps_max) {
  int event = events_[0].next;
  for (uint64_t step = 0; answered_done_ < answered_; ++step) {
    if (step >= steps_max) {
      return "undecided: the search of " + std::to_string(ops_.size()) +
             " operations took more than " + std::to_string(steps_max) + " steps";
    }
    const Event& now = events_[event];
    if (event != 0 && !now.is_return) {
      const std::optional<Register> next = Apply(now.op);
      if (next) {
        done_[now.op / 64] |= uint64_t{1} << (now.op % 64);
        if (Remember(*next)) {
          Linearize(event, *next);
          event = events_[0].next;
          continue;
        }
        done_[now.op / 64] &= ~(uint64_t{1} << (now.op % 64));
      }
      event = now.next;
      continue;
    }
    // A response whose operation is not placed: something before it was placed wrongly.
    if (event != 0) NoteStuck(now.op);
    if (stack_.empty()) return Failure();
    event = Undo();
  }
  return "";
}

}  // namespace

std::string CheckLinearizable(std::vector<HistoryOp> history, uint64_t steps_max) {
  DropWhatSaysNothing(&history);
  InferVersions(&history);
  return Search(std::move(history)).Run(steps_max);
}

}  // namespace skein
