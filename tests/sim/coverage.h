// What a simulation has been through. A run of many seeds in which one of these never happened has
// not tested what it claims to.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace skein::sim {

enum class Mark : uint8_t {
  kElection,
  kVoteRefused,
  kLeaderSteppedDown,
  kStallGivenUp,
  kFastElection,
  kTruncation,
  kAppendRejected,
  kLogTrimmed,
  kLogRead,
  kReplayAfterCrash,
  kDamage,
  kDamageRepaired,
  kCrash,
  kPowerLoss,
  kTerminate,
  kWriteHalfDone,
  kPause,
  kDiskStall,
  kDiskError,
  kDiskFull,
  kPartition,
  kOneWayCut,
  kClog,
  kSwizzle,
  kStreamBroken,
  kClockJump,
  kMessageLost,
  kMessageDuplicated,
  kMessageReordered,
  kMessageReplayed,
  kMessageGarbled,
  kWriteOk,
  kWriteRefused,
  kWriteRejected,
  kWriteUnknown,
  kWriteRetried,
  kQueueFull,
  kAllReached,
  kAllTimedOut,
  kLeaderLevelLost,
  kReadOk,
  kReadLinearizable,
  kReadOnFollower,
  kReadBounded,
  kReadBehind,
  kReadQueueFull,
  kReadFailed,
  kMemberAdded,
  kMemberReturned,
  kMemberPromoted,
  kMemberRemoved,
  kMemberRemovedByForce,
  kMemberMoved,
  kAddressTakenOver,
  kOtherAtAddress,
  kUpstreamSet,
  kEntryRelayed,
  kFeederChosen,
  kFeederPassedOver,
  kOldVersion,
  kUpgrade,
  kLeaderRemoved,
  kChangeRefused,
  kMembershipBack,
  kSenderRefused,
  kTransfer,
  kTransferGivenUp,
  kSnapshotFetched,
  kSnapshotFailed,
  kSnapshotSourceFull,
  kSnapshotWentOn,
  kSnapshotInstalled,
  kLogReset,
  kInstallCompleted,
  kWipe,
  kQuorumForced,
  kLeftBehindKnocks,
  kLeftBehindAnswers,
  kHistoryLearnt,
  kHealed,
};
inline constexpr size_t kMarkCount = static_cast<size_t>(Mark::kHealed) + 1;

const char* MarkName(Mark mark);

class Coverage {
 public:
  void Count(Mark mark, uint64_t times = 1) { counts_[static_cast<size_t>(mark)] += times; }
  uint64_t Of(Mark mark) const { return counts_[static_cast<size_t>(mark)]; }
  void Add(const Coverage& other) {
    for (size_t i = 0; i < kMarkCount; ++i) counts_[i] += other.counts_[i];
  }
  // A line for each mark.
  std::string Report() const;
  // The marks that were never hit, with commas; empty: all were.
  std::string Missing() const;

 private:
  std::array<uint64_t, kMarkCount> counts_{};
};

}  // namespace skein::sim
