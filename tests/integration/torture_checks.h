// What clients did and were told while a cluster was hurt, and whether it can all be true.
//
// The promise: no acknowledged write is lost, none is applied twice, no read is staler than it may
// be. Each function gives complaints, a few of each sort; none means that nothing contradicts the
// promise. Pure; callable from any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace skein {

enum class OpKind : uint8_t {
  kPut,
  kDelete,
  kGetAny,
  kGetOwn,      // of a session: everything up to a revision
  kGetBounded,  // at most so old
  kGetLinearizable,
};
inline constexpr int kOpKinds = 6;
const char* NameOf(OpKind kind);

enum class OpOutcome : uint8_t {
  kOk,
  kRefused,  // certainly without effect; a read without an answer
  kUnknown,  // a write that may take effect, may have, or never will
};
inline constexpr int kOpOutcomes = 3;
const char* NameOf(OpOutcome outcome);

struct OpRecord {
  OpKind kind = OpKind::kPut;
  OpOutcome outcome = OpOutcome::kOk;
  std::string key;
  std::string value;      // put: written, and no other put writes the same; get: found
  bool found = false;     // get: there was a value
  uint64_t begin_us = 0;  // invocation and response, on one clock for all
  uint64_t end_us = 0;
  uint64_t revision = 0;  // ok write: its own; get: the version of the value
  uint64_t applied = 0;   // get: how far the answering node was
  uint64_t at_least = 0;  // kGetOwn: the revision that was promised to be seen
  uint64_t bound_us = 0;  // kGetBounded: the age that was allowed
  std::string node;       // get: who answered
  std::string who;        // who asked
  std::string error;
};
std::string Describe(const OpRecord& record);

using KeysOfNode = std::map<std::string, std::pair<std::string, uint64_t>>;  // value and version
struct NodeContents {
  std::string node;
  KeysOfNode keys;
};

// Revisions are given once, and in the order of time.
std::vector<std::string> CheckRevisions(const std::vector<OpRecord>& records);
// Each node holds, of every key, what the acknowledged writes and at most the unknown ones explain,
// once, and all nodes hold the same.
std::vector<std::string> CheckContents(const std::vector<OpRecord>& records,
                                       const std::vector<NodeContents>& nodes);
// Every answer was written under that key, has one version for ever, and is as fresh as asked for.
std::vector<std::string> CheckReads(const std::vector<OpRecord>& records);
// Per key, over puts, deletes, linearizable gets, and what the key held in the end. The contents
// are those of any node after everything else was over.
std::vector<std::string> CheckHistories(const std::vector<OpRecord>& records,
                                        const KeysOfNode& contents);

// All of them.
std::vector<std::string> CheckEverything(const std::vector<OpRecord>& records,
                                         const std::vector<NodeContents>& nodes);

}  // namespace skein
