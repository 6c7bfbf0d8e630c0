// The numbers of the protocol, as types that do not convert into each other.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <string>

namespace skein {

// A 64-bit number with a meaning. Arithmetic is with plain distances: position + distance is a
// position, position - position is a distance. Invariant: subtraction never wraps in correct code.
template <typename Tag>
class StrongInt {
 public:
  constexpr StrongInt() = default;
  constexpr explicit StrongInt(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }
  constexpr StrongInt Next() const { return StrongInt(value_ + 1); }
  constexpr StrongInt Previous() const { return StrongInt(value_ - 1); }

  friend constexpr auto operator<=>(StrongInt, StrongInt) = default;
  friend constexpr StrongInt operator+(StrongInt a, uint64_t distance) {
    return StrongInt(a.value_ + distance);
  }
  friend constexpr uint64_t operator-(StrongInt a, StrongInt b) { return a.value_ - b.value_; }

 private:
  uint64_t value_ = 0;
};

using Term = StrongInt<struct TermTag>;    // of leadership; 0: before the first election
using Index = StrongInt<struct IndexTag>;  // of a log entry, dense from 1; 0: before the first
using Revision = StrongInt<struct RevisionTag>;  // of a command, dense from 1; 0: before the first
using NodeId = StrongInt<struct NodeIdTag>;      // 0: nobody

// A recovery from the loss of a majority begins a new history of its cluster (R35). The terms of
// the n-th begin at n times this, above all that came before, whoever has lived through them.
inline constexpr uint64_t kTermsOfHistory = 1'000'000'000;
constexpr uint64_t HistoryOf(Term term) { return term.value() / kTermsOfHistory; }
// The term of the recovery itself, in which nobody is elected.
constexpr bool BeginsHistory(Term term) {
  return term != Term() && term.value() % kTermsOfHistory == 0;
}

// Where an entry stands. Two logs that hold the same (term, index) are equal up to there.
struct Position {
  Term term;
  Index index;

  friend constexpr auto operator<=>(const Position&, const Position&) = default;
};

// Everything that a log must remember of an entry to be continued after it.
struct LogPoint {
  Position at;
  uint64_t chain = 0;  // hash over this entry and, through its predecessor's chain, all before it
  Revision revision;   // of the last command in or before the entry

  friend bool operator==(const LogPoint&, const LogPoint&) = default;
};

}  // namespace skein

template <typename Tag>
struct std::hash<skein::StrongInt<Tag>> {
  size_t operator()(skein::StrongInt<Tag> v) const noexcept {
    return std::hash<uint64_t>{}(v.value());
  }
};
