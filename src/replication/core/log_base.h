// What stands for everything up to an entry: where a log begins, and what a snapshot holds.
#pragma once

#include "common/types.h"
#include "replication/core/membership.h"

namespace skein {

struct LogBase {
  LogPoint point;         // the last entry that is covered; all zero in a new log
  Membership membership;  // as of `point`

  friend bool operator==(const LogBase&, const LogBase&) = default;
};

}  // namespace skein
