// What Replica knows of the way in which snapshots come to a node.
#pragma once

#include "replication/core/event.h"

namespace skein {

// Called from the replica's thread. Events go to the sink that the implementation was given.
class SnapshotFetcher {
 public:
  virtual ~SnapshotFetcher() = default;

  // Fetches, in place of what is being fetched: posts SnapshotFetching every second
  // or so as long as the source gives signs of life, and SnapshotFetched once; nothing of an
  // earlier fetch comes after that of a later one has begun. What was fetched of the same snapshot
  // before is not fetched again. Never blocks.
  virtual void Fetch(const SnapshotFetch& fetch) = 0;
};

}  // namespace skein
