// Whether what callers of one key saw can be explained by operations that each took effect at one
// instant between invocation and response. The search of Wing and Gong (1993) with Lowe's
// memoisation (2017): operations are linearized in every order that time allows, and a set of
// linearized operations with the same resulting value is tried only once.
//
// Pure; callable from any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace skein {

// One operation on the key. Operations that certainly had no effect are not part of a history.
struct HistoryOp {
  enum class Kind : uint8_t { kPut, kDelete, kGet };
  static constexpr uint64_t kNever = ~uint64_t{0};

  Kind kind = Kind::kGet;
  std::string value;      // put: written, unlike any other put's; get: what was found
  bool found = false;     // get: there was a value
  uint64_t begin_us = 0;  // invocation, on a clock that all operations share
  uint64_t end_us = 0;    // response; kNever: outcome unknown, may take effect at any time or never
  // Acknowledged put or delete: its revision; get: the revision of the value. 0: not known.
  uint64_t version = 0;
  std::string who;  // for messages
};

// Empty if the operations, on a key that does not exist at first, are linearizable; revisions,
// where known, must rise in the order found. Otherwise which operation cannot be placed, after the
// longest run that could. `steps_max` bounds the search; beyond it the answer says so.
std::string CheckLinearizable(std::vector<HistoryOp> history, uint64_t steps_max = 400'000'000);

}  // namespace skein
