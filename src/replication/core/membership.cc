#include "replication/core/membership.h"

#include "common/checksum.h"
#include "common/coding.h"

namespace skein {
namespace {

constexpr uint8_t kVoter = 1;
constexpr uint8_t kHasIncarnation = 2;
constexpr uint8_t kPromoteWhenLevel = 4;
constexpr uint8_t kKnownFlags = kVoter | kHasIncarnation | kPromoteWhenLevel;

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
    const bool seen = member.incarnation != 0;
    PutFixed8(&out, (member.voter ? kVoter : 0) | (seen ? kHasIncarnation : 0) |
                        (member.promote_when_level ? kPromoteWhenLevel : 0));
    if (seen) PutFixed64(&out, member.incarnation);
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
    if ((flags & kHasIncarnation) != 0) member.incarnation = decoder.Fixed64();
    membership->members.push_back(std::move(member));
  }
  return decoder.ok() && decoder.empty();
}

}  // namespace skein
