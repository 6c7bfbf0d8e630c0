// Brings a snapshot from one node's store to another's, without a network.
#pragma once

#include <functional>
#include <string>

#include "storage/incoming_snapshot.h"
#include "storage/snapshot_store.h"

namespace skein {

// Sends one part; may change what is sent.
using TamperWithPart = std::function<void(const std::string& file, SnapshotPart* part)>;

// The parts that are wanted, one after the other, until none is or `parts` have been sent.
inline absl::Status SendParts(const Snapshot& snapshot, IncomingSnapshot* incoming, size_t parts,
                              size_t bytes_max, const TamperWithPart& tamper = nullptr) {
  for (auto wanted = incoming->Next(); wanted.has_value() && parts > 0; --parts) {
    auto part = snapshot.Read(wanted->file, wanted->offset, bytes_max);
    if (!part.ok()) return part.status();
    if (tamper != nullptr) tamper(wanted->file, &*part);
    const absl::Status written =
        incoming->Write(wanted->file, wanted->offset, part->bytes, part->checksum);
    if (!written.ok()) return written;
    wanted = incoming->Next();
  }
  return absl::OkStatus();
}

// All of it.
inline absl::StatusOr<LogBase> Receive(const Snapshot& snapshot, IncomingSnapshot* incoming) {
  absl::Status status = incoming->Begin(snapshot.manifest());
  if (!status.ok()) return status;
  status = SendParts(snapshot, incoming, ~size_t{0}, 1 << 20);
  if (!status.ok()) return status;
  return incoming->Finish();
}

}  // namespace skein
