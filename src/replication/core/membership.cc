#include "replication/core/membership.h"

#include "common/checksum.h"
#include "common/coding.h"

namespace skein {
namespace {

constexpr uint8_t kVoter = 1;
constexpr uint8_t kHasIncarnation = 2;
constexpr uint8_t kPromoteWhenLevel = 4;
constexpr uint8_t kNeverVotes = 8;
constexpr uint8_t kHasUpstream = 16;
constexpr uint8_t kKnownFlags =
    kVoter | kHasIncarnation | kPromoteWhenLevel | kNeverVotes | kHasUpstream;

uint8_t FlagsOf(const Member& member) {
  uint8_t flags = 0;
  if (member.voter) flags |= kVoter;
  if (member.incarnation != 0) flags |= kHasIncarnation;
  if (member.promote_when_level) flags |= kPromoteWhenLevel;
  if (member.never_votes) flags |= kNeverVotes;
  if (member.upstream != NodeId()) flags |= kHasUpstream;
  return flags;
}

}  // namespace

NodeId NodeIdOf(const std::string& name) {
  const uint64_t hash = Checksum64(name);
  return NodeId(hash == 0 ? 1 : hash);
}

std::string EncodeMembership(const Membership& membership) {
  std::string out;
  PutVarint(&out, membership.members.size());
  for (const Member& member : membership.members) {
    PutFixed64(&out, member.id.value());
    PutBytes(&out, member.name);
    PutBytes(&out, member.address);
    PutFixed8(&out, FlagsOf(member));
    if (member.incarnation != 0) PutFixed64(&out, member.incarnation);
    if (member.upstream != NodeId()) PutFixed64(&out, member.upstream.value());
  }
  if (membership.required_version > kOldestProtocolVersion) {
    PutVarint(&out, membership.required_version);
  }
  return out;
}

bool DecodeMembership(std::string_view bytes, Membership* membership) {
  Decoder decoder(bytes);
  const uint64_t count = decoder.Varint();
  membership->members.clear();
  for (uint64_t i = 0; i < count && decoder.ok(); ++i) {
    Member member;
    member.id = NodeId(decoder.Fixed64());
    member.name = decoder.Bytes();
    member.address = decoder.Bytes();
    const uint8_t flags = decoder.Fixed8();
    if ((flags & ~kKnownFlags) != 0) return false;
    member.voter = (flags & kVoter) != 0;
    member.promote_when_level = (flags & kPromoteWhenLevel) != 0;
    member.never_votes = (flags & kNeverVotes) != 0;
    if ((flags & kHasIncarnation) != 0) member.incarnation = decoder.Fixed64();
    if ((flags & kHasUpstream) != 0) member.upstream = NodeId(decoder.Fixed64());
    membership->members.push_back(std::move(member));
  }
  membership->required_version = kOldestProtocolVersion;
  if (decoder.ok() && !decoder.empty()) {
    membership->required_version = static_cast<uint32_t>(decoder.Varint());
  }
  return decoder.ok() && decoder.empty();
}

}  // namespace skein
