#include "replication/core/membership.h"

#include "common/checksum.h"
#include "common/coding.h"

namespace skein {

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
    PutFixed8(&out, member.voter ? 1 : 0);
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
    member.voter = decoder.Fixed8() != 0;
    membership->members.push_back(std::move(member));
  }
  return decoder.ok() && decoder.empty();
}

}  // namespace skein
