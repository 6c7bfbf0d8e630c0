// The wire form of a Hello; what it travels in is the wire codec's.
#pragma once

#include "replication/grpc/hello.h"
#include "skein/v1/replication.pb.h"

namespace skein {

void Fill(const Hello& hello, v1::PeerHello* wire);
// Without an oldest version it speaks one alone.
Hello FromWire(v1::PeerHello wire);

}  // namespace skein
