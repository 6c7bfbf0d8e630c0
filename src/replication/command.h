// The payload of an entry: a batch of commands. Format: docs/disk_format.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/coding.h"

namespace skein {

enum class CommandType : uint8_t {
  kPut = 1,
  kDelete = 2,
};

struct CommandView {
  CommandType type = CommandType::kPut;
  std::string_view key;
  std::string_view value;  // empty for a delete
};

inline void AppendPut(std::string* batch, std::string_view key, std::string_view value) {
  PutFixed8(batch, static_cast<uint8_t>(CommandType::kPut));
  PutBytes(batch, key);
  PutBytes(batch, value);
}

inline void AppendDelete(std::string* batch, std::string_view key) {
  PutFixed8(batch, static_cast<uint8_t>(CommandType::kDelete));
  PutBytes(batch, key);
}

// Takes the next command off the decoder. False if the batch is malformed; ask `decoder.empty()`
// before.
inline bool NextCommand(Decoder* decoder, CommandView* command) {
  command->type = static_cast<CommandType>(decoder->Fixed8());
  command->key = decoder->Bytes();
  switch (command->type) {
    case CommandType::kPut:
      command->value = decoder->Bytes();
      return decoder->ok();
    case CommandType::kDelete:
      command->value = {};
      return decoder->ok();
  }
  return false;
}

}  // namespace skein
