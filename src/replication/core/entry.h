// The unit of the log: a batch of commands, or a no-op, as one immutable framed byte string. The
// same bytes go to the log, to every follower and to the state machine. Format:
// docs/disk_format.md.
//
// Invariants:
//  1. An Entry that exists has a valid checksum.
//  2. chain == ChainHash(chain of the entry at index - 1, checksum).
//  3. first_revision == revision of the predecessor + 1; a no-op takes no revision.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/types.h"

namespace skein {

enum class EntryType : uint8_t {
  kNoOp = 1,        // a new leader's first entry
  kCommands = 2,    // payload: a command batch, see replication/command.h
  kMembership = 3,  // payload: the membership from this entry on, see EncodeMembership
};

class Entry;
using EntryPtr = std::shared_ptr<const Entry>;

class Entry {
 public:
  // What the frame adds to the payload, in bytes.
  static constexpr size_t kHeaderBytes = 56;

  // The entry that follows `previous`. Thread-safe, as is everything here.
  static EntryPtr Build(const LogPoint& previous, Term term, EntryType type, uint32_t command_count,
                        uint64_t cluster_time_ms, std::string_view payload);

  // Takes a frame that came from disk or wire. kDataLoss if it is cut, of unknown format or its
  // checksum does not match.
  static absl::StatusOr<EntryPtr> Parse(std::string frame);

  Term term() const { return term_; }
  Index index() const { return index_; }
  Position position() const { return {term_, index_}; }
  EntryType type() const { return type_; }
  uint32_t command_count() const { return command_count_; }
  // Of the first command; of the one that would be next if there is none.
  Revision first_revision() const { return first_revision_; }
  // Of the last command in or before this entry.
  Revision last_revision() const { return Revision(first_revision_.value() + command_count_ - 1); }
  uint64_t cluster_time_ms() const { return cluster_time_ms_; }
  uint64_t checksum() const { return checksum_; }
  uint64_t chain() const { return chain_; }
  LogPoint point() const { return {position(), chain_, last_revision()}; }

  const std::string& frame() const { return frame_; }
  size_t bytes() const { return frame_.size(); }
  std::string_view payload() const { return std::string_view(frame_).substr(kHeaderBytes); }

  // True if this entry continues the log at `previous`: next index, next revision, chain.
  bool Follows(const LogPoint& previous) const;

 private:
  Entry() = default;

  std::string frame_;
  Term term_;
  Index index_;
  EntryType type_ = EntryType::kNoOp;
  uint32_t command_count_ = 0;
  Revision first_revision_;
  uint64_t cluster_time_ms_ = 0;
  uint64_t checksum_ = 0;
  uint64_t chain_ = 0;
};

// Bytes of all frames together.
size_t TotalBytes(const std::vector<EntryPtr>& entries);

}  // namespace skein
